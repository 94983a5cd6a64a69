"""Bounded waits at the end: work that takes too long is cancelled and abandoned, and its position is logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

CANCEL_SECONDS = 1.0
"""Time limit for cancelled work, before it is abandoned."""

log = logging.getLogger("lanemesh.closing")


async def within(seconds: float, what: str, work: Coroutine[Any, Any, Any]) -> bool:
    """Awaits closing work. Returns whether it completed in time; raises its exception.

    `what` names the work in the log, as in "the gRPC server to stop".
    """
    task = asyncio.ensure_future(work)
    late = await cancel_stragglers(seconds, what, [task])
    if not late:
        task.result()
    return not late


async def cancel_stragglers(seconds: float, what: str, tasks: Iterable[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Waits for tasks to end. Those that do not end are cancelled, logged, and returned."""
    tasks = set(tasks)
    if not tasks:
        return set()
    try:
        _, late = await asyncio.wait(tasks, timeout=seconds)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    for task in late:
        log.error("gave up waiting for %s after %g s: %s", what, seconds, standing(task))
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=CANCEL_SECONDS)
    return late


def standing(task: asyncio.Task[Any]) -> str:
    """Where a task waits: its name, and the places that await each other, from its own to the innermost."""
    places: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(awaited, f"{kind}_frame")), None)
        frame = getattr(awaited, f"{kind}_frame", None)
        if frame is None:
            break
        places.append(f"{frame.f_code.co_qualname} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})")
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
    return f"{task.get_name()} waits in {', in '.join(places)}" if places else f"{task.get_name()} has ended"
