"""Coroutines that begin before they are awaited, as asyncio's eager tasks of Python 3.12 do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

_ENDED = object()


class EagerCoroutine:
    """Runs a coroutine up to its first wait at once. The first await of this object continues it and gets its exception. One that
    may never be awaited needs `close`."""

    __slots__ = ("_error", "_future", "_work")

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self._future: Any = _ENDED
        """The object that it waits for: a future, or None for its next turn."""
        self._error: BaseException | None = None
        """The exception that it raised before its first wait."""
        try:
            self._future = work.send(None)
        except StopIteration:
            pass
        except (Exception, asyncio.CancelledError) as error:
            self._error = error

    @property
    def succeeded(self) -> bool:
        """It has ended without an exception, so that it need not be awaited."""
        return self._future is _ENDED and self._error is None

    def close(self) -> None:
        """Ends the coroutine where it waits, and cancels what it waits for, whose exception nothing would get. Has no effect on one
        that has ended."""
        if self._future is not _ENDED:
            future, self._future = self._future, _ENDED
            self._work.close()
            if future is not None:
                future.cancel()

    def __await__(self) -> Generator[Any, None, None]:
        if self._error is not None:
            raise self._error
        while self._future is not _ENDED:
            try:
                try:
                    yield self._future
                except BaseException as error:
                    self._future = self._work.throw(error)
                else:
                    self._future = self._work.send(None)
            except StopIteration:
                self._future = _ENDED
