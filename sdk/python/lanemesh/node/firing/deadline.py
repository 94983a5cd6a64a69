"""Time limit of one firing, or of the whole `run`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from contextvars import ContextVar

from lanemesh._aio.time_left import within
from lanemesh.faults import Code, Fault, LanemeshError

OVERDUE_SECONDS = 5.0
"""How long a body may continue after its time limit, to handle its cancellation, before it is abandoned."""

_LIMIT: ContextVar[asyncio.Timeout | None] = ContextVar("limit of this firing", default=None)

_NONE: AbstractAsyncContextManager[asyncio.Timeout | None] = nullcontext()


class Deadline:
    """The timeout of one component."""

    def __init__(
        self,
        component: str,
        seconds: float | None,
        more: Callable[[], str] = str,
        on_overdue: Callable[[Fault], object] | None = None,
    ) -> None:
        """`more` is added to the error message. `on_overdue` gets the fault of a body that continues after its time limit."""
        self.seconds = seconds
        """The limit that the pipeline sets, in seconds; None: no limit."""
        self._component = component
        self._more = more
        self._on_overdue = on_overdue

    def of(self, what: str, leeway: float = 0.0) -> AbstractAsyncContextManager[asyncio.Timeout | None]:
        """Context manager around a firing or a run, which `what` names. Raises LanemeshError when it takes too long.

        `leeway` extends the limit by so many seconds, for other work within it.
        """
        return _NONE if self.seconds is None else self._limited(what, self.seconds, leeway)

    @asynccontextmanager
    async def _limited(self, what: str, seconds: float, leeway: float) -> AsyncIterator[asyncio.Timeout]:
        try:
            async with asyncio.timeout(seconds + leeway) as scope:
                watch = _Watch(scope, lambda: self._report_overdue(what, seconds))
                try:
                    limit = _LIMIT.set(scope)
                    try:
                        with within(scope.when):
                            yield scope
                    finally:
                        _LIMIT.reset(limit)
                finally:
                    watch.end()
        except TimeoutError:
            if not scope.expired():
                raise
            raise LanemeshError(self._late(what, seconds, self._more())) from None

    def _report_overdue(self, what: str, seconds: float) -> None:
        if self._on_overdue is not None:
            more = f"it ignored its cancellation for another {OVERDUE_SECONDS:g} s and was abandoned"
            self._on_overdue(self._late(what, seconds, more))

    def _late(self, what: str, seconds: float, more: str) -> Fault:
        message = f"{self._component}: one {what} took longer than its timeout of {seconds:g} s"
        return Fault(code=Code.DEADLINE_EXCEEDED, reason="timeout", message=message + (f"; {more}" if more else ""))


class _Watch:
    """Makes a call if a scope has not been left some time after its limit, even if the limit was postponed."""

    def __init__(self, scope: asyncio.Timeout, call: Callable[[], None]) -> None:
        self._scope = scope
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(self._due(), self._look)

    def end(self) -> None:
        """The scope was left."""
        self._timer.cancel()

    def _due(self) -> float:
        when = self._scope.when()
        return (self._loop.time() if when is None else when) + OVERDUE_SECONDS

    def _look(self) -> None:
        if self._scope.expired() and self._loop.time() >= self._due() - 0.001:
            self._call()
        else:
            self._timer = self._loop.call_at(self._due(), self._look)


def limit_paused() -> AbstractContextManager[None]:
    """Stops the clock of the time limit of this firing, if there is one."""
    return paused(_LIMIT.get())


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
