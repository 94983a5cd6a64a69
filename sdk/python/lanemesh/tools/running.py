"""The execution of a function for one call: its progress as it is made, its result, its time limit and its cancellation."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from lanemesh._aio.tasks import CANCEL_SECONDS, abandon
from lanemesh._aio.user_errors import failure_of
from lanemesh.chat import ToolProgress
from lanemesh.node.user_functions import Returned, call_steps
from lanemesh.rendering import rendered
from lanemesh.tools.context import made_progress

MAX_PROGRESS = 256
"""Most progress reports that wait for the caller; of more, the oldest are dropped."""


class TimedOut(Exception):
    """A call did not end in time."""


class Execution:
    """One call of a function. The function runs in a task of its own, so that it cannot delay its caller by ignoring its
    cancellation."""

    def __init__(self, name: str, warn: Callable[[str], object]) -> None:
        """`name` is the tool's, for errors; `warn` logs."""
        self.value: Any = None
        """What the function returned, after `steps` has ended."""
        self._name = name
        self._warn = warn
        self._progress: deque[ToolProgress] = deque(maxlen=MAX_PROGRESS)
        self._changed: asyncio.Future[None] | None = None

    def report(self, progress: ToolProgress) -> None:
        """Adds a progress report. Called in the event loop."""
        self._progress.append(progress)
        self._wake()

    async def steps(
        self, call: Callable[[], Any], *, hold: bool, timeout: float | None, on_cancel: Callable[[], object]
    ) -> AsyncGenerator[ToolProgress, None]:
        """Calls a function, and yields its progress until it has ended. Leaving the iteration cancels the call.

        Args:
            call: the function with its arguments.
            hold: the last value that a generator yields, other than progress, is its result; otherwise all values are progress, and
                the result is what it returns.
            timeout: seconds for the call; None: no limit.
            on_cancel: called when the function is cancelled.

        Raises:
            TimedOut: it did not end in time.
            Exception: raised by the function.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        task = loop.create_task(self._work(call, hold), name=f"the tool {self._name}")
        task.add_done_callback(lambda _: self._wake())
        try:
            while True:
                done = task.done()
                while self._progress:
                    yield self._progress.popleft()
                if done:
                    break
                if not task.done():  # it may have ended while the caller took the progress
                    await self._change(deadline)
            error = task.result()
            if error is not None:
                raise error
        finally:
            if not task.done():
                on_cancel()
                await self._cancel(task)

    async def _work(self, call: Callable[[], Any], hold: bool) -> Exception | None:
        """Runs the function. Returns what it raised, because a task must not raise what is no `Exception`."""
        held: list[Any] = []
        try:
            async with aclosing(call_steps(call)) as values:
                async for value in values:
                    if isinstance(value, Returned):
                        if value.of_generator and value.value is None:
                            continue
                        self._release(held)
                        held = [value.value]
                    elif isinstance(value, ToolProgress):
                        self.report(value)
                    elif hold:
                        self._release(held)
                        held = [value]
                    else:
                        self._release([value])
        except BaseException as error:
            return failure_of(error)
        self.value = held[0] if held else None
        return None

    def _release(self, values: list[Any]) -> None:
        """Reports values as progress: a text, a fraction, or any other value as text."""
        for value in values:
            if isinstance(value, str):
                self.report(made_progress(value))
            elif isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
                self.report(made_progress(fraction=float(value)))
            else:
                self.report(made_progress(rendered(value, 1_000)))

    async def _change(self, deadline: float | None) -> None:
        """Waits for progress or for the end. Raises TimedOut at the deadline."""
        self._changed = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout_at(deadline):
                await self._changed
        except TimeoutError:
            raise TimedOut from None
        finally:
            self._changed = None

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _cancel(self, task: asyncio.Task[Exception | None]) -> None:
        """Cancels the function, and waits for it for a second; then it is abandoned."""
        task.cancel()
        try:
            await asyncio.wait({task}, timeout=CANCEL_SECONDS)
        finally:
            if not task.done():
                self._warn(
                    f"the tool {self._name} ignores its cancellation: it was abandoned after {CANCEL_SECONDS:g} s, and runs on"
                )
                abandon(task)
