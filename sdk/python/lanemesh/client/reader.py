"""Reading what comes of a run with waits that may be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Reader(AsyncGenerator[T, None]):
    """What a generator yields. A wait that is cancelled, as by a timeout, loses nothing: the generator goes on with its step in a
    task of its own, and the next wait gets what it yields. The owner of a reader closes it."""

    def __init__(self, source: AsyncGenerator[T, None]) -> None:
        self._source = source
        self._step: asyncio.Task[T] | None = None
        """The step of the generator that is waited for."""
        self._begun = False

    async def asend(self, value: None) -> T:
        """The next one. `value` is not used."""
        if self._step is None:
            step: Any = self._source.__anext__()
            if self._begun:
                try:
                    future = step.send(None)
                except StopIteration as ready:  # without a wait, and so without a task
                    found: T = ready.value
                    return found
                step = _Rest(step, future)
            self._begun = True
            self._step = asyncio.create_task(_awaited(step), name="a step of a run's reader")
        await asyncio.wait([self._step])
        ended, self._step = self._step, None
        return ended.result()

    async def athrow(self, *error: Any) -> T:
        """Raises an error in the generator, where it has yielded."""
        return await self._source.athrow(*error)

    async def aclose(self) -> None:
        """Cancels the step that is waited for, and closes the generator."""
        step, self._step = self._step, None
        if step is not None:
            step.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await asyncio.wait([step])
                step.result()
        await self._source.aclose()

    def __del__(self) -> None:
        step = self._step
        if step is not None:  # nobody waits for it any more
            with suppress(RuntimeError):  # its event loop has closed
                step.get_loop().call_soon_threadsafe(step.cancel)


class _Rest:
    """A step of a generator that has begun and waits for a future."""

    def __init__(self, step: Any, future: Any) -> None:
        self._step = step
        self._future = future

    def __await__(self) -> Generator[Any, None, Any]:
        while True:
            try:
                try:
                    yield self._future
                except BaseException as error:
                    self._future = self._step.throw(error)
                else:
                    self._future = self._step.send(None)
            except StopIteration as ended:
                return ended.value


async def _awaited(step: Any) -> Any:
    return await step
