"""Ends what tests share, within a bound: what hangs there would else be seen only as a test that ran out of time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from failure_tail import waiting_tasks

T = TypeVar("T")

SECONDS = 60.0
"""Within which any of it has ended; only a hang takes longer."""


async def end(what: str, ending: Coroutine[Any, Any, Any], seconds: float = SECONDS) -> None:
    """Awaits the end of something; fails with what every task waits for if it does not come."""
    task = asyncio.create_task(ending, name=f"end of {what}")
    _, late = await asyncio.wait([task], timeout=seconds)
    if late:
        told = "\n".join([f"{what} did not end within {seconds:g} s", *waiting_tasks()])
        task.cancel()
        raise TimeoutError(told)
    task.result()


@asynccontextmanager
async def lasting(what: str, made: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Enters a context, and leaves it within a bound."""
    thing = await made.__aenter__()
    try:
        yield thing
    finally:
        await end(what, made.__aexit__(None, None, None))
