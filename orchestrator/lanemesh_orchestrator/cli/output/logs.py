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
        self.components: frozenset[str] = frozenset()
        """Components whose log lines are updates of a run, and are shown from these."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record."""
        try:
            if self.write is not None and getattr(record, "component", "") in self.components:
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
"""Maximum number of buffered characters of an unfinished line: 8 KiB."""


class Lines(TextIOBase):
    """Replaces a standard stream and passes its text on line by line. It drops the lines of node servers of a spread mesh for
    components whose logs are updates."""

    def __init__(self, write: Callable[[str], None], components: Iterable[str] = ()) -> None:
        self._write = write
        self._open = ""
        names = "|".join(map(re.escape, components))
        self._components = re.compile(rf"[^ ]+ \| ({names})( \w+)?: ") if names else None

    def write(self, text: str) -> int:
        """Passes on the lines that have ended, or are longer than 8 KiB."""
        *whole, self._open = (self._open + text).split("\n")
        for line in whole:
            self._pass_on(line)
        if len(self._open) > MAX_LINE:
            self.finish()
        return len(text)

    def finish(self) -> None:
        """Passes on an unfinished line."""
        line, self._open = self._open, ""
        if line:
            self._pass_on(line)

    def _pass_on(self, line: str) -> None:
        if self._components is None or not self._components.match(line):
            self._write(line)


@contextmanager
def written_by(write: Callable[[str], None], components: Iterable[str] = ()) -> Iterator[None]:
    """Logs, and other output to standard error, are passed to `write` meanwhile, except logs of `components`, which are
    shown from updates."""
    _handler.write, _handler.components = write, frozenset(components)
    lines = Lines(write, components)
    try:
        with redirect_stderr(lines):
            yield
    finally:
        lines.finish()
        _handler.write, _handler.components = None, frozenset()
