"""Standard output and standard error of a run: written in order, from a thread, so that a slow reader holds nothing else."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TextIO

from lanemesh_orchestrator.cli.output.visible import visible

MAX_WAITING_BYTES = 256 * 1024
"""Bytes that wait to be written; above that `wait_for_capacity` waits."""

OUT, ERR = 1, 2
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def styled(stream: TextIO | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream takes colours: it is a terminal that knows them, and https://no-color.org does not forbid it."""
    return is_terminal(stream) and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def encoding_of(stream: TextIO | None) -> str:
    """The encoding to write a stream in: that of a terminal, and UTF-8 for a pipe or a file in any locale."""
    return (stream.encoding if stream is not None and is_terminal(stream) else None) or "utf-8"


class Streams:
    """Writes outputs to standard output, everything else to standard error; on a terminal with both, each has its own lines.

    It must be created inside a running loop. `on_closed` is called in it, once, when standard output is closed or cannot be
    written; later output is dropped.
    """

    def __init__(self, on_closed: Callable[[], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_closed = on_closed
        self._pending: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._progress = asyncio.Event()
        self._dead: set[int] = {fd for fd, stream in ((OUT, sys.stdout), (ERR, sys.stderr)) if stream is None}
        self._encoding = encoding_of(sys.stdout)
        self._err_encoding = encoding_of(sys.stderr)
        self._ends_line = True
        self.out_is_terminal = is_terminal(sys.stdout)
        """Outputs are shown to a person."""
        self.error: OSError | None = None
        """Why standard output cannot be written, if not for want of a reader."""
        self.wrote_out = False
        """Something was written to standard output."""
        self._shared = self.out_is_terminal and is_terminal(sys.stderr)
        self._dim = styled(sys.stderr)
        threading.Thread(target=self._write_all, name="lanemesh-streams", daemon=True).start()

    @property
    def closed(self) -> bool:
        """Standard output has no reader any more, or cannot be written."""
        return OUT in self._dead

    def out(self, data: str | bytes) -> None:
        """Writes to standard output. On a terminal, control characters of a text are shown as symbols. Never blocks;
        `wait_for_capacity` waits for a slow reader."""
        if self.out_is_terminal and isinstance(data, str):
            data = visible(data)
        raw = data.encode(self._encoding, "backslashreplace") if isinstance(data, str) else data
        if raw:
            self.wrote_out = True
            self._ends_line = raw.endswith(b"\n")
            self._put(OUT, raw)

    def note(self, text: str, *, dim: bool = False) -> None:
        """Writes a line, or several, to standard error, with control characters as symbols."""
        text = visible(text)
        if self._dim and dim:
            text = "\n".join(f"{_DIM}{line}{_PLAIN}" if line else "" for line in text.split("\n"))
        if self._shared and not self._ends_line:
            text = f"\n{text}"
            self._ends_line = True
        self._put(ERR, f"{text}\n".encode(self._err_encoding, "backslashreplace"))

    def paint(self, text: str) -> None:
        """Writes to standard error unchanged, for drawing on a terminal."""
        self._put(ERR, text.encode(self._err_encoding, "backslashreplace"))

    @property
    def behind(self) -> bool:
        """Something waits to be written."""
        return self._waiting_bytes > 0

    async def wait_for_capacity(self) -> None:
        """Waits while more than `MAX_WAITING_BYTES` wait to be written."""
        await self._until(MAX_WAITING_BYTES)

    async def drain(self) -> None:
        """Waits until everything is written."""
        await self._until(0)

    async def _until(self, limit: int) -> None:
        while self._waiting_bytes > limit:
            self._progress.clear()
            if self._waiting_bytes > limit:
                await self._progress.wait()

    def _put(self, fd: int, data: bytes) -> None:
        with self._changed:
            if fd not in self._dead:
                self._pending.append((fd, data))
                self._waiting_bytes += len(data)
                self._changed.notify()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._pending:
                    self._changed.wait()
                fd, chunk = self._take()
            try:
                _write(fd, chunk)
            except OSError as error:
                self._lose(fd, error)
            with self._changed:
                self._waiting_bytes -= len(chunk)
            self._call_in_loop(self._progress.set)

    def _take(self) -> tuple[int, bytes]:
        """The next bytes, as many as go to one stream and are allowed to wait."""
        fd, first = self._pending.popleft()
        parts, size = [first], len(first)
        while self._pending and self._pending[0][0] == fd and size < MAX_WAITING_BYTES:
            parts.append(self._pending.popleft()[1])
            size += len(parts[-1])
        return fd, b"".join(parts)

    def _lose(self, fd: int, error: OSError) -> None:
        with self._changed:
            if fd == OUT and not isinstance(error, BrokenPipeError):
                self.error = error
            self._dead.add(fd)
            kept = [part for part in self._pending if part[0] != fd]
            self._waiting_bytes -= sum(len(data) for other, data in self._pending if other == fd)
            self._pending = deque(kept)
        if fd == OUT and self._on_closed is not None:
            self._call_in_loop(self._on_closed)

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # The loop is closed: there is no waiter any more.
            return


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # Another process made the shared terminal non-blocking.
            select.select((), (fd,), ())
