"""A file whose pieces still arrive: read by a thread, filled by another one, on disk beyond 16 MiB."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from contextlib import suppress

from lanemesh.extend import in_thread

IN_MEMORY = 16 * 1024 * 1024
"""Bytes of a file above which it is on disk: 16 MiB."""
AHEAD = 32 * 1024 * 1024
"""Most bytes that arrive before the reader has read them: 32 MiB."""


ALL_IN_MEMORY = 256 * 1024 * 1024
"""Most bytes of all files of this process together that are held in memory: 256 MiB. Further ones are on disk from their begin."""
ALL = 64 * 1024 * 1024 * 1024
"""Most bytes of all files of this process together: 64 GiB."""


class ReaderStopped(OSError):
    """The pieces will not be complete, or what is read is not needed any more."""


class NoSpace(OSError):
    """All files together would be larger than they may be, or the disk is full."""


class _Space:
    """What all files of this process take."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.memory = self.total = 0

    def take(self, size: int) -> None:
        """Takes bytes of a file. Raises NoSpace."""
        with self._lock:
            if self.total + size > ALL:
                raise NoSpace(0, f"all videos that are read at the same time have more than {ALL:,} bytes")
            self.total += size

    def take_memory(self) -> bool:
        """Takes the memory of a file; False if there is none left."""
        with self._lock:
            if self.memory + IN_MEMORY > ALL_IN_MEMORY:
                return False
            self.memory += IN_MEMORY
            return True

    def free(self, size: int, *, memory: bool) -> None:
        """Gives the bytes of a file back, and its memory if it has taken some."""
        with self._lock:
            self.total -= size
            self.memory -= IN_MEMORY if memory else 0


SPACE = _Space()
"""That of this process."""


class PieceFile:
    """A file for PyAV: `read` waits for pieces that are missing, and `seek` goes to any place.

    The reader is one thread, the writer one task. A file whose index is at its end is read when all of it has arrived, any other
    one while it arrives.
    """

    def __init__(self) -> None:
        """Made in the event loop of the writer."""
        self._loop = asyncio.get_running_loop()
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._has_memory = SPACE.take_memory()
        if not self._has_memory:
            self._file.rollover()
        self._using = threading.Lock()
        """Held by the thread that reads or writes."""
        self._taken = 0
        self._closed = False
        self._changed = threading.Condition()
        self._read_on = asyncio.Event()
        self._size = self._place = 0
        self._ended = self._stopped = self._is_waiting = False

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self._size

    async def put(self, content: bytes) -> bool:
        """Adds a piece, and waits while the reader is far behind. Returns False if the reader has stopped. Raises NoSpace."""
        await in_thread(self._write, content)
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
        """Frees the file. May be called again."""
        self.stop()
        with self._using:
            if not self._closed:
                self._closed = True
                self._file.close()
                SPACE.free(self._taken, memory=self._has_memory)

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end. Raises `ReaderStopped`."""
        with self._changed:
            while self._place >= self._size and not self._ended and not self._stopped:
                self._is_waiting = True
                self._wake_writer()
                self._changed.wait()
            if self._stopped:
                raise ReaderStopped("the file is not read any more")
            most = min(size, max(0, self._size - self._place))
        with self._using:
            self._file.seek(self._place)
            content = self._file.read(most)
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

    def _write(self, content: bytes) -> None:
        with self._using:
            if self._stopped or self._closed:
                return
            SPACE.take(len(content))
            self._taken += len(content)
            try:
                self._file.seek(self._size)
                self._file.write(content)
            except OSError as error:
                raise NoSpace(error.errno, f"the disk of temporary files: {error.strerror}") from error
        with self._changed:
            self._size += len(content)
            self._is_waiting = False
            self._changed.notify_all()

    def _wake_writer(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._read_on.set)
