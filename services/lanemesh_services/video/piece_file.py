"""A file whose pieces still arrive: read by a thread, filled by the event loop, on disk beyond 16 MiB."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from contextlib import suppress

IN_MEMORY = 16 * 1024 * 1024
"""Bytes of a file above which it is on disk: 16 MiB."""
AHEAD = 32 * 1024 * 1024
"""Most bytes that arrive before the reader has read them: 32 MiB."""


class ReaderStopped(OSError):
    """The pieces will not be complete, or nobody needs what is read."""


class PieceFile:
    """A file for PyAV: `read` waits for pieces that are missing, and `seek` goes to any place.

    The reader is one thread, the writer one task. A file whose index is at its end is read when all of it has arrived, any other
    one while it arrives.
    """

    def __init__(self) -> None:
        """Made in the event loop of the writer."""
        self._loop = asyncio.get_running_loop()
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._changed = threading.Condition()
        self._read_on = asyncio.Event()
        self._size = self._place = 0
        self._ended = self._stopped = self._is_waiting = False

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self._size

    async def put(self, content: bytes) -> bool:
        """Adds a piece, and waits while the reader is far behind. Returns False if the reader has stopped."""
        with self._changed:
            if self._stopped:
                return False
            self._file.seek(self._size)
            self._file.write(content)
            self._size += len(content)
            self._is_waiting = False
            self._changed.notify_all()
        while not self._stopped and not self._is_waiting and self._size - self._place > AHEAD:
            self._read_on.clear()
            if self._size - self._place > AHEAD:
                await self._read_on.wait()
        return not self._stopped

    def end(self) -> None:
        """No more pieces follow."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends reader and writer: a waiting `read` raises `ReaderStopped`, and `put` returns False."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._wake_writer()

    def close(self) -> None:
        """Frees the file; called by the thread, after its last `read`."""
        self.stop()
        self._file.close()

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end. Raises `ReaderStopped`."""
        with self._changed:
            while self._place >= self._size and not self._ended and not self._stopped:
                self._is_waiting = True
                self._wake_writer()
                self._changed.wait()
            if self._stopped:
                raise ReaderStopped("the file is not read any more")
            self._file.seek(self._place)
            content = self._file.read(min(size, max(0, self._size - self._place)))
            self._place += len(content)
        self._wake_writer()
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """Goes to a place. Returns it, or -1 if it counts from an end that has not arrived."""
        with self._changed:
            if whence == 2 and not self._ended:
                return -1
            self._place = offset + (0, self._place, self._size)[whence]
            return self._place

    def tell(self) -> int:
        """The place."""
        return self._place

    def _wake_writer(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._read_on.set)
