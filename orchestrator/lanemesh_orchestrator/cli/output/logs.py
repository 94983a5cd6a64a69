"""Logs on standard error: those of nodes with their component before each line, those of Lanemesh with their logger."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import TextIOBase

from lanemesh.server.log_format import LineFormatter, quiet_libraries


class LogHandler(logging.Handler):
    """Writes to standard error, or while outputs are being printed to where they keep clear of each other's lines."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LineFormatter())
        self.write: Callable[[str], None] | None = None
        """Takes a message; None: standard error."""
        self.told: frozenset[str] = frozenset()
        """Components whose lines come as updates of a run, and are shown as such."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record."""
        try:
            if self.write is not None and getattr(record, "component", "") in self.told:
                return
            text = self.format(record)
            if self.write is not None:
                self.write(text)
            elif sys.stderr is not None:
                sys.stderr.write(f"{text}\n")
        except Exception:
            self.handleError(record)


_handler = LogHandler()


def set_up(level: int) -> None:
    """Shows logs from a level on."""
    root = logging.getLogger()
    if _handler not in root.handlers:
        root.addHandler(_handler)
    root.setLevel(level)
    quiet_libraries(level)


MAX_LINE = 8_192
"""Most characters of a line that has not ended before they are passed on: 8 KiB."""


class Lines(TextIOBase):
    """Takes the place of a standard stream: what is written there is passed on line by line. The lines that the node servers of a
    spread mesh write for components whose logs come as updates are left out."""

    def __init__(self, write: Callable[[str], None], told: Iterable[str] = ()) -> None:
        self._write = write
        self._open = ""
        names = "|".join(map(re.escape, told))
        self._told = re.compile(rf"[^ ]+ \| ({names})( \w+)?: ") if names else None

    def write(self, text: str) -> int:
        """Passes on the lines that have ended, or are longer than 8 KiB."""
        *whole, self._open = (self._open + text).split("\n")
        for line in whole:
            self._pass_on(line)
        if len(self._open) > MAX_LINE:
            self.finish()
        return len(text)

    def finish(self) -> None:
        """Passes on what has no end."""
        line, self._open = self._open, ""
        if line:
            self._pass_on(line)

    def _pass_on(self, line: str) -> None:
        if self._told is None or not self._told.match(line):
            self._write(line)


@contextmanager
def written_by(write: Callable[[str], None], told: Iterable[str] = ()) -> Iterator[None]:
    """Logs, and all else that this process writes to standard error, go through `write` meanwhile, but for logs of the components
    `told`, which come as updates."""
    _handler.write, _handler.told = write, frozenset(told)
    lines = Lines(write, told)
    try:
        with redirect_stderr(lines):
            yield
    finally:
        lines.finish()
        _handler.write, _handler.told = None, frozenset()
