"""How long one firing, or the whole of `run`, may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext

from lanemesh.lanes.faults import Code, Fault, LanemeshError
from lanemesh.node.time_left import within

_NONE: AbstractAsyncContextManager[asyncio.Timeout | None] = nullcontext()


class Deadline:
    """The timeout of one component."""

    def __init__(self, component: str, seconds: float | None, more: Callable[[], str] = str) -> None:
        self.seconds = seconds
        """What the pipeline says; None: no limit."""
        self._component = component
        self._more = more

    def of(self, what: str, leeway: float = 0.0) -> AbstractAsyncContextManager[asyncio.Timeout | None]:
        """Goes around a firing or a run, which `what` names. Raises LanemeshError when it takes too long.

        `leeway` is more time in seconds, for what else happens there.
        """
        return _NONE if self.seconds is None else self._limited(what, self.seconds, leeway)

    @asynccontextmanager
    async def _limited(self, what: str, seconds: float, leeway: float) -> AsyncIterator[asyncio.Timeout]:
        try:
            async with asyncio.timeout(seconds + leeway) as scope:
                with within(scope.when):
                    yield scope
        except TimeoutError:
            if not scope.expired():
                raise
            more = self._more()
            message = f"{self._component}: one {what} took longer than its timeout of {seconds:g} s"
            raise LanemeshError(
                Fault(
                    code=Code.DEADLINE_EXCEEDED,
                    reason="timeout",
                    message=message + (f"; {more}" if more else ""),
                )
            ) from None


@contextmanager
def paused(limit: asyncio.Timeout | None) -> Iterator[None]:
    """Stops the clock of a time limit, if there is one."""
    until = limit.when() if limit is not None else None
    if limit is None or until is None:
        yield
        return
    loop = asyncio.get_running_loop()
    left = until - loop.time()
    limit.reschedule(None)
    try:
        yield
    finally:
        if not limit.expired():
            limit.reschedule(loop.time() + left)
