"""Memory while a fast producer waits for a slow consumer."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import Literal

import psutil

from running.pipelines import line, mesh

ITEMS_PER_S = 100
"""What the consumer takes."""

_FAST_AND_SLOW = line(("run_source", {}), ("run_slow", {"items_per_s": ITEMS_PER_S}))


class Starved(Exception):
    """The consumer did not get its items, so that the memory means nothing."""


async def growth_mb(spread: Literal["component"] | None, seconds: float, warm_up: float) -> dict[str, float]:
    """How much each process grew at most, in MB of 10^6 bytes that are its own (USS), in so many seconds after a warm-up.

    Looked at once a second, as the consumer speaks. The names say what the process is.
    """
    async with mesh(spread) as made:
        begin = time.monotonic() + warm_up
        before: dict[str, float] = {}
        highest: dict[str, float] = {}
        taken_before = taken = 0
        async with aclosing(made.run(_FAST_AND_SLOW, input="go").values()) as outputs:
            async for text in outputs:
                taken = int(text)
                if time.monotonic() < begin:
                    continue
                now = _own_mb({server.pid or 0: server.name for server in await made.node_servers()})
                if not before:
                    before, taken_before = now, taken
                highest = {name: max(mb, highest.get(name, mb)) for name, mb in now.items()}
                if time.monotonic() >= begin + seconds:
                    break
        if taken - taken_before < 0.9 * ITEMS_PER_S * seconds:
            raise Starved(f"the consumer took {taken - taken_before} items in {seconds:g} s")
    return {name: highest[name] - before[name] for name in before}


def _own_mb(names: dict[int, str]) -> dict[str, float]:
    own = psutil.Process()
    processes = {"orchestrator and client" if names else "all of it": own}
    processes |= {names.get(child.pid, str(child.pid)): child for child in own.children(recursive=True)}
    return {name: process.memory_full_info().uss / 1e6 for name, process in processes.items()}
