"""How long an item takes through a chain of processes."""

from __future__ import annotations

import time
from contextlib import aclosing

from lanemesh_orchestrator import Mesh

from running.pipelines import line

STAGES = 10
"""Nodes that pass items on, each in a process of its own, between the source's and the client's."""
INTERVAL_S = 0.02
"""Time between two items: so long that none waits for another."""


async def ages_ms(made: Mesh, items: int) -> list[float]:
    """From the source's emit to the client, each item in ms."""
    config = {"items": items, "interval_s": INTERVAL_S}
    pipeline = line(("run_source", config), *[("run_pass", {})] * STAGES)
    ages = []
    async with aclosing(made.run(pipeline, input="go").values()) as outputs:
        async for text in outputs:
            ages.append((time.monotonic_ns() - int(text)) / 1e6)
    if len(ages) != items:
        raise RuntimeError(f"{len(ages)} of {items} items arrived")
    return ages
