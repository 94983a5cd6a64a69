"""Runs code of asyncio inside the cancel scopes of anyio, by which the MCP SDK ends requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

log = logging.getLogger("lanemesh.mcp")

T = TypeVar("T")

CLEANUP_SECONDS = 10.0
"""How long a cancelled request may take to clean up."""


async def insulated(work: Coroutine[Any, Any, T]) -> T:
    """Awaits `work` in a task of its own, which is cancelled once if this is cancelled, and can then clean up.

    A cancelled scope of anyio interrupts each await in it, also those of `finally` blocks, so that a run would not be released.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        with anyio.CancelScope(shield=True):
            done, _ = await asyncio.wait([task], timeout=CLEANUP_SECONDS)
        if not done:
            log.warning("a cancelled request has not cleaned up within %g s", CLEANUP_SECONDS)
        elif not task.cancelled() and (error := task.exception()) is not None:
            log.debug("a cancelled request failed", exc_info=error)
        raise
    return task.result()
