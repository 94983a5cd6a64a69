"""Requests: runs of one input that are iterated over or awaited, and the limit of those that are open at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator
from typing import Any

from lanemesh.client.fanout import Fanout
from lanemesh.client.inputs import to_input
from lanemesh.client.results import RunFailed, RunResult
from lanemesh.client.runs import Run, RunLink
from lanemesh.client.updates import RunState
from lanemesh.client.views import View
from lanemesh.faults import Code, Fault, LanemeshError

MAX_OPEN = 1_000
"""Most requests of one mesh or client that are open at once. Further ones wait for their turn, in the order of their starts."""
MAX_WAITING = 100_000
"""Most requests of one mesh or client that wait for their turn. Further ones are rejected."""
MAX_RETRIES = 100
"""Most retries of one request."""
MAX_PAUSE_SECONDS = 60.0
"""A longer suggested pause before a retry counts as this one, in seconds. Up to half of the pause is added at random."""

_abandoning: set[asyncio.Task[None]] = set()
"""The closing tasks of requests that were dropped after `start`; each is removed at its end."""


class RequestLimit:
    """Limits the open requests of one mesh or client to `MAX_OPEN`, and those that wait to `MAX_WAITING`."""

    def __init__(self, most: int = MAX_OPEN, most_waiting: int = MAX_WAITING) -> None:
        self.most = most
        """Most open requests."""
        self._most_waiting = most_waiting
        self._open = 0
        self._waiting: dict[asyncio.Future[bool], None] = {}
        """The turns of the requests that wait, in order."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> asyncio.Future[bool] | None:
        """Opens a request, which `leave` ends. If the limit is reached, returns the turn of the request: a future that is True once
        the request is open. `abandon` ends the wait for it.

        Raises:
            LanemeshError: too many requests wait ("too-many-requests").
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop and (self._loop is None or self._loop.is_closed()):
            self._loop, self._open = loop, 0  # the requests of a closed event loop have ended with it
            self._waiting.clear()
        if self._open < self.most:
            self._open += 1
            return None
        if len(self._waiting) >= self._most_waiting:
            message = (
                f"{self.most:,} requests of this mesh or client are open, and {self._most_waiting:,} wait for their turn. "
                "Make further ones when earlier ones have ended"
            )
            raise LanemeshError(Fault(code=Code.RESOURCE_EXHAUSTED, reason="too-many-requests", message=message))
        turn: asyncio.Future[bool] = loop.create_future()
        self._waiting[turn] = None
        return turn

    def abandon(self, turn: asyncio.Future[bool]) -> None:
        """Gives up a turn, which may have come in the meantime."""
        self._waiting.pop(turn, None)
        if turn.done() and not turn.cancelled() and turn.result():
            self.leave()

    def leave(self) -> None:
        """Ends an open request; the next one gets its turn."""
        while self._waiting:
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            if not turn.done():
                turn.set_result(True)
                return
        self._open -= 1


class Request(Run):
    """One input to a pipeline, and what it returns. `async for` yields the values, `await` returns the `RunResult`. Its views, such
    as `text()`, are those of a run.

    It starts when it is first read. Leaving it early, in any way, cancels it: the end of a loop over it, a cancelled `await`, the
    exit of its `async with` block. A request that was never read leaves nothing.
    """

    def __init__(
        self,
        link: Callable[[float | None], RunLink],
        given: Any,
        limit: RequestLimit,
        *,
        timeout: float | None = None,
        retries: int = 0,
    ) -> None:
        """A request that has not started.

        Args:
            link: creates the transport of a run with this timeout, in seconds; called again for each retry.
            given: the input; None: none.
            limit: the limit of its mesh or client.
            timeout: time limit in seconds, with waits for a turn and for retries; None: that of the pipeline, for the run alone.
            retries: how often it is started again after a rejection that suggests a retry, from 0 to 100.

        Raises:
            ValueRefused: no lane carries the input.
            ValueError: `retries` is out of range.
        """
        if not 0 <= retries <= MAX_RETRIES:
            raise ValueError(f"retries is a number from 0 to {MAX_RETRIES}, not {retries}")
        super().__init__(link(timeout), () if given is None else (to_input(given),))
        self._link_for = link
        self._limit = limit
        self._timeout = timeout
        self._retries = retries
        self._is_open = False
        """It counts against the limit."""
        self._wait: asyncio.Future[bool] | None = None
        """Its wait for a turn or for a retry; the result False ends the wait."""
        self._began = 0.0
        self._result: RunResult | None = None

    def __aiter__(self) -> View[Any, list[Any]]:
        return self.values()

    def __await__(self) -> Generator[Any, None, RunResult]:
        return self.all().__await__()

    async def all(self) -> RunResult:
        """Reads the request to its end, as `await` does. Returns the result, also when it is called again.

        Raises:
            RunFailed: the run failed, was cancelled, or took longer than its timeout.
            LanemeshError: the run was not started, such as for lack of capacity; `retry_after` is the suggested pause.
        """
        if self._result is None:
            self._result = await self.result()
        self._result.raise_for_state()
        return self._result

    async def open_updates(self) -> Fanout:
        """The only reader of its updates; starts the request.

        Raises:
            LanemeshError: it was read to its end already ("already-read"), so that nothing is left to read.
        """
        fanout = await super().open_updates()
        if fanout.has_ended and self.state is RunState.COMPLETED:
            message = (
                "this request was read to its end already. Make another one, or read several views at the same time, such as by "
                "asyncio.gather in its block"
            )
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="already-read", message=message))
        return fanout

    async def cancel(self, reason: str = "cancelled by its caller") -> None:
        """Cancels the request; a wait for its start ends. See `Run.cancel`."""
        await super().cancel(reason)
        if self._wait is not None and not self._wait.done():
            self._wait.set_result(False)

    async def _start(self) -> None:
        self._began = asyncio.get_running_loop().time()
        if not await self._enter():
            await super()._start()
            return
        try:
            await self._start_or_retry()
        except BaseException:
            self._leave()
            raise
        if self._never_ran:
            self._leave()

    async def _start_or_retry(self) -> None:
        left = self._retries
        if self._wait is not None:
            self._link = self._link_for(self._remaining())
        while True:
            try:
                async with asyncio.timeout(self._remaining()):
                    return await super()._start()
            except TimeoutError:
                raise self._timed_out("its run was not started by then") from None
            except LanemeshError as error:
                if error.retry_after is None or not left:
                    raise
                left -= 1
                pause = min(error.retry_after, MAX_PAUSE_SECONDS) * random.uniform(1.0, 1.5)  # not all at once again
                if (remaining := self._remaining()) is not None and remaining <= pause:
                    raise
            self._wait = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._wait], timeout=pause)
            self._link = self._link_for(self._remaining())

    async def _enter(self) -> bool:
        """Waits for a turn. Returns False if the request was cancelled before that. Raises RunFailed at the timeout."""
        if self._cancelled_early is not None:
            return False
        turn = self._wait = self._limit.enter()
        try:
            async with asyncio.timeout(self._timeout):
                self._is_open = turn is None or await turn
        except TimeoutError:
            open_now = f"its mesh or client has {self._limit.most:,} open requests"
            raise self._timed_out(f"it waited for its turn, because {open_now}") from None
        finally:
            if turn is not None and not self._is_open:
                self._limit.abandon(turn)
        return self._is_open

    def _remaining(self) -> float | None:
        """The seconds before its timeout; None: it has none."""
        if self._timeout is None:
            return None
        return max(0.001, self._timeout - (asyncio.get_running_loop().time() - self._began))

    def _timed_out(self, why: str) -> RunFailed:
        message = f"the request took longer than its timeout of {self._timeout:g} s: {why}"
        return RunFailed(Fault(code=Code.DEADLINE_EXCEEDED, reason="timeout", message=message))

    def _leave(self) -> None:
        if self._is_open:
            self._is_open = False
            self._limit.leave()

    async def _release(self) -> None:
        try:
            await super()._release()
        finally:
            self._leave()

    def __del__(self) -> None:
        loop = getattr(self, "_loop", None)
        if loop is not None and self._started and not self._released and not loop.is_closed():
            loop.call_soon_threadsafe(_abandon, self)


def _abandon(request: Request) -> None:
    """Closes a request without references; called in its event loop."""
    task = asyncio.get_running_loop().create_task(request.close())
    _abandoning.add(task)
    task.add_done_callback(_abandoning.discard)
