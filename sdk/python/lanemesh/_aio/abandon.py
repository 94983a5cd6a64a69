"""Tasks that ignore their cancellation: nobody waits for them any more, nor does `asyncio.run` at its end."""

from __future__ import annotations

import asyncio
from typing import Any

_LEFT: set[asyncio.Task[Any]] = set()
"""Holds them until they end by themselves, if they ever do."""


def abandon(task: asyncio.Task[Any]) -> None:
    """Leaves a task to itself. It goes on for as long as its event loop does, and ends with it.

    `asyncio.run` cancels every task that is registered and waits for all of them, without a bound; a task that is not registered
    it does not know.
    """
    asyncio.tasks._unregister_task(task)  # documented under "Extending asyncio", for tasks of other makes
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # it was told already that it was abandoned
    _LEFT.add(task)
    task.add_done_callback(_ended)


def abandoned() -> list[asyncio.Task[Any]]:
    """The tasks that were left to themselves and have not ended."""
    return list(_LEFT)


def _ended(task: asyncio.Task[Any]) -> None:
    _LEFT.discard(task)
    if not task.cancelled():
        task.exception()  # seen, since nobody waits for it
