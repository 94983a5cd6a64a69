"""How long one firing, or the whole of `run`, may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from lanemesh.lanes.faults import Code, Fault, LanemeshError

_NONE: AbstractAsyncContextManager[None] = nullcontext()


class Deadline:
    """The timeout of one component."""

    def __init__(self, component: str, seconds: float | None, more: Callable[[], str] = str) -> None:
        self.seconds = seconds
        """What the pipeline says; None: no limit."""
        self._component = component
        self._more = more

    def of(self, what: str) -> AbstractAsyncContextManager[None]:
        """Goes around a firing or a run, which `what` names. Raises LanemeshError when it takes too long."""
        return _NONE if self.seconds is None else self._limited(what, self.seconds)

    @asynccontextmanager
    async def _limited(self, what: str, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds) as scope:
                yield
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
