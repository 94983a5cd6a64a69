"""Writes that continue when their caller is cancelled: cancelling a task inside a gRPC write ends the whole call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

_UNDER_WAY: set[asyncio.Task[Any]] = set()
"""Holds tasks whose asker was cancelled until they have ended."""


async def shielded(work: Coroutine[Any, Any, None]) -> None:
    """Awaits work that a cancellation of the caller does not reach; it ends by itself, and a later exception of it is dropped."""
    task = asyncio.ensure_future(work)
    _UNDER_WAY.add(task)
    task.add_done_callback(_ended)
    await asyncio.shield(task)


def _ended(task: asyncio.Task[Any]) -> None:
    _UNDER_WAY.discard(task)
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not report it when it is no longer awaited
