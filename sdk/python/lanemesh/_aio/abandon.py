"""Tasks that ignore their cancellation: they are no longer awaited, not even by `asyncio.run` at its end."""

from __future__ import annotations

import asyncio
from typing import Any

_LEFT: set[asyncio.Task[Any]] = set()
"""Holds them until they end by themselves, if they ever do."""


def abandon(task: asyncio.Task[Any]) -> None:
    """Abandons a task. It continues until its event loop ends.

    `asyncio.run` cancels every task that is registered and waits for all of them, without a bound; it does not wait for an
    unregistered task.
    """
    asyncio.tasks._unregister_task(task)  # documented under "Extending asyncio", for third-party tasks
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # its abandonment was already reported
    _LEFT.add(task)
    task.add_done_callback(_ended)


def abandoned() -> list[asyncio.Task[Any]]:
    """The tasks that were left to themselves and have not ended."""
    return list(_LEFT)


def _ended(task: asyncio.Task[Any]) -> None:
    _LEFT.discard(task)
    if not task.cancelled():
        task.exception()  # retrieved, because nothing awaits it
