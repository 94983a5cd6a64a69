"""Logs on standard error: those of nodes with their component before each line, those of Lanemesh with their logger."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lanemesh.server.log_format import LineFormatter


class LogHandler(logging.Handler):
    """Writes to standard error, or while outputs are being printed to where they keep clear of each other's lines."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LineFormatter())
        self.write: Callable[[str], None] | None = None
        """Takes a message; None: standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record."""
        try:
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


@contextmanager
def written_by(write: Callable[[str], None]) -> Iterator[None]:
    """Logs go through `write` meanwhile."""
    _handler.write = write
    try:
        yield
    finally:
        _handler.write = None
