"""Synchronous generators in worker threads: many values per trip to the thread, as long as they are quick."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

from lanemesh._aio.threads import HOP_SECONDS, HopSize, ThreadSession, as_failure
from lanemesh._aio.user_errors import ignored_close

CLOSE_SECONDS = 0.5
"""How long to wait for a synchronous generator that is closed early."""

CLOSE_ATTEMPTS = 8
"""How often a synchronous generator is closed if it yields after `close`."""

MAX_AHEAD = 128
"""Most values that a generator has yielded and that were not yet passed on."""

MAX_AHEAD_BYTES = 256 * 1024
"""Size of these values above which no further one is pulled: 256 KiB."""

_CHANGEABLE_BYTES = MAX_AHEAD_BYTES
"""What a value counts that the generator may change after it was yielded, such as an object: the generator takes no further step
before this value is passed on."""


class GeneratorEnd:
    """Follows the last value of a generator."""

    __slots__ = ("by_close", "error")

    def __init__(self, error: BaseException | None, *, by_close: bool = False) -> None:
        self.error = error
        """What the generator raised."""
        self.by_close = by_close
        """It was closed."""


class GeneratorThread:
    """Runs synchronous generators one after the other, all in one thread, each in a context of its own.

    A trip to the thread pulls values until a generator fails or one of these bounds is reached: 1 ms, MAX_AHEAD_BYTES, or the
    number that the last trip managed, doubled while they are quick, up to MAX_AHEAD. The first value of a trip wakes the event loop
    at once, so it does not wait for the next one. The next trip begins when all values of the last one were taken: a generator
    whose output is blocked is at most MAX_AHEAD values ahead, and one with slow steps is one value ahead. A value that the
    generator may change, such as an object, ends the trip, so that it is passed on as it was yielded.
    """

    def __init__(
        self,
        makers: Iterable[Callable[[], Iterable[Any]]],
        *,
        size: HopSize | None = None,
        on_abandoned: Callable[[], object] | None = None,
        session: ThreadSession | None = None,
        name: str = "a generator",
    ) -> None:
        """
        Args:
            makers: each makes a generator, or returns another iterable. The thread calls it when its turn comes.
            size: the limit of a trip, if it shall outlive these generators.
            on_abandoned: called when a step does not end although it is not awaited any more. It continues in its thread.
            session: the thread; a new one by default.
            name: the name of the generators in warnings.
        """
        self.name = name
        self.end = GeneratorEnd
        """The type of what follows the last value of a generator in `pulled`."""
        self.abandoned = False
        """A step was abandoned."""
        self._makers = iter(makers)
        self._size = size or HopSize(MAX_AHEAD)
        self.done_at_once = 0
        """Number of generators that ended in the first trip."""
        self._trips = 0
        self._on_abandoned = on_abandoned
        self._session = session or ThreadSession()
        self._taken = 0
        """Number of generators that were begun to be read."""
        self.pulled: deque[Any] = deque()
        """What was pulled and not yet taken, with an `GeneratorEnd` after each generator."""
        self._on_trip = False
        self._stopped = False
        """No further generator begins."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._armed = False
        """The event loop waits: the next change wakes it. Set there and reset in the thread, and each checks for changes of the
        other after its own."""
        self._closing = 0
        """The generator that shall take no further step."""
        self._number = 0
        """The generator that the thread is at, from 1. This and the rest belongs to the thread."""
        self._context = contextvars.Context()
        self._made: Any = None
        self._iterator: Iterator[Any] | None = None
        self._live = False
        """It has begun, and not ended."""
        self._failed = False
        """It has raised an exception."""
        self._left = self._bytes_left = 0

    async def values(self, *, last: bool = False) -> AsyncGenerator[Any, None]:
        """The values of the next generator. Closing this one closes it in its thread, and waits for that for CLOSE_SECONDS.

        `last`: the thread is released at the end.

        Raises:
            Exception: raised by the generator, after its values.
        """
        number, values, ended = self.begin(), self.pulled, False
        try:
            while True:
                while values:
                    value = values.popleft()
                    if type(value) is GeneratorEnd:
                        ended = True
                        if value.error is not None:
                            raise value.error
                        return
                    yield value
                await self.more()
        finally:
            try:
                if not ended:
                    await self.leave(number)
            finally:
                if last:
                    self._session.end()

    def begin(self) -> int:
        """Begins to read the next generator: what `values` does, for the innermost loops. Returns its number.

        The caller takes the values from `pulled` up to and including the `GeneratorEnd`, and waits for `more` when it is empty.
        """
        self._taken += 1
        return self._taken

    async def leave(self, number: int) -> None:
        """Closes a generator that was read in part, and drops its values. Raises what the generator raises when it is closed."""
        if not self.abandoned:
            await self._closed(number)

    async def aclose(self) -> None:
        """Begins no further generator, closes the present one as `values` does, and releases the thread."""
        self._stopped = True
        try:
            if self._on_trip or self._live:
                await self._closed()
        finally:
            self._session.end()

    async def more(self) -> None:
        """Waits for values or an end, on a further trip unless one is under way. A wait that is cancelled abandons the step."""
        try:
            while not self.pulled:
                if not self._on_trip:
                    self._on_trip = True
                    self._session.post(self._trip)
                await self._changed()
        except asyncio.CancelledError:
            self._abandon()
            raise

    async def _changed(self) -> None:
        """Waits until the thread adds something or ends its trip."""
        loop = self._loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        self._armed = True
        if self._on_trip and not self.pulled:
            await waiter
        self._armed = False

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _closed(self, number: int = 0) -> None:
        """Closes a generator in its thread, by default the present one, and drops its values. Raises what it raises when it is
        closed."""
        self._closing = number
        if number and self._dropped() is not None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._session.call(partial(self._close, number))
        except TimeoutError:
            self._abandon()
            return
        except asyncio.CancelledError:
            self._abandon()
            raise
        end = self._dropped()
        while end is not None:
            if end.by_close and end.error is not None:
                raise end.error
            end = None if number else self._dropped()

    def _dropped(self) -> GeneratorEnd | None:
        """Drops the values up to the end of a generator, and returns that. None if it has not ended."""
        while self.pulled:
            value = self.pulled.popleft()
            if type(value) is GeneratorEnd:
                return value
        return None

    def _abandon(self) -> None:
        """Leaves the present step to itself. The generator is closed when it ends."""
        if not self.abandoned:
            self.abandoned = self._stopped = True
            self._closing = self._number
            self._session.abandon()
            self._session.end(last=self._close_quietly)
            if self._on_abandoned is not None:
                self._on_abandoned()

    def _trip(self) -> None:
        """In the thread: pulls values until a bound of the trip is reached."""
        until = perf_counter() + HOP_SECONDS
        self._left = most = self._size.most
        self._bytes_left = MAX_AHEAD_BYTES
        self._trips += 1
        while self._live or self._begun():
            self._context.run(self._pull, until)
            if self._failed:
                break  # the event loop decides whether the next one begins
            if self._live or self._left <= 0 or self._bytes_left <= 0 or perf_counter() > until:
                self._size.did(most - self._left, of=most)
                break
        if self._trips == 1:
            self.done_at_once = self._number - self._live
        self._on_trip = False
        if self._armed:
            self._wake()

    def _begun(self) -> bool:
        """Begins the next generator. False if there is none."""
        make = None if self._stopped else next(self._makers, None)
        if make is None:
            return False
        self._number += 1
        self._context = contextvars.copy_context()
        self._made, self._iterator, self._live, self._failed = make, None, True, False
        return True

    def _pull(self, until: float) -> None:
        values, left = self.pulled, self._left
        try:
            if self._iterator is None:
                self._made = self._made()
                self._iterator = iter(self._made)
            for value in self._iterator:
                values.append(value)
                if self._armed:
                    self._wake()
                left -= 1
                self._bytes_left -= _size(value)
                if left <= 0 or self._bytes_left <= 0 or self._closing == self._number or perf_counter() > until:
                    self._left = left
                    return
            self._ended(GeneratorEnd(None))
        except BaseException as error:
            self._ended(GeneratorEnd(_failure(error)))
        self._left = min(left, self._left - 1)

    def _ended(self, end: GeneratorEnd) -> None:
        self._live, self._made, self._iterator, self._failed = False, None, None, end.error is not None
        self.pulled.append(end)
        if self._armed:
            self._wake()

    def _close(self, number: int) -> None:
        """In the thread: closes a generator that has not ended."""
        if not self._live or number not in (0, self._number):
            return
        closer = getattr(self._iterator if self._iterator is not None else self._made, "close", None)
        error: BaseException | None = None
        try:
            if closer is not None:
                self._context.run(_close, closer)
        except BaseException as raised:
            error = _failure(raised)
        self._ended(GeneratorEnd(error, by_close=True))

    def _close_quietly(self) -> None:
        self._close(0)

    def _wake(self) -> None:
        self._armed = False
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has closed: nothing waits any more
            self._loop.call_soon_threadsafe(self._notify)


def in_threads(
    values: Iterable[Any], on_abandoned: Callable[[], object] | None = None, session: ThreadSession | None = None
) -> AsyncGenerator[Any, None]:
    """Iterates over a synchronous generator in a worker thread, and closes it there. It has one thread and one context from its
    first step to its end, and is at most MAX_AHEAD values ahead.

    Args:
        values: the generator, or another iterable.
        on_abandoned: called when a step is cancelled. That step continues in its thread until it ends.
        session: the thread; a new one by default.
    """
    return GeneratorThread([lambda: values], on_abandoned=on_abandoned, session=session).values(last=True)


def _size(value: Any) -> int:
    """About how many bytes a yielded value holds, which may be a pair of port and value."""
    if type(value) is tuple and len(value) == 2:
        value = value[1]
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value)
    if kind is int or kind is float or kind is bool or value is None:
        return 0
    return _CHANGEABLE_BYTES


def _failure(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) and not isinstance(error, StopIteration) else as_failure(error)


def _close(closer: Callable[[], object]) -> None:
    """Closes a generator, and closes it again if it yields after that. Raises RuntimeError if it still yields at the bound."""
    for _ in range(CLOSE_ATTEMPTS - 1):
        try:
            closer()
        except RuntimeError as error:
            if not ignored_close(error):
                raise
        else:
            return
    closer()
