"""The log of the registrations of this process, for tests that wait for a line of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lanemesh._aio.signal import Signal


class Lines(logging.Handler):
    """The log of the registrations of this process."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.added = Signal()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a line."""
        self.lines.append(record.getMessage())
        self.added.fire()

    async def until(self, *texts: str, seconds: float = 20.0) -> None:
        """Waits until each of these has been logged."""
        async with asyncio.timeout(seconds):
            while not all(any(text in line for line in self.lines) for text in texts):
                await self.added.wait()


@contextmanager
def registration_log(name: str = "lanemesh.registration") -> Iterator[Lines]:
    """Collects the lines meanwhile. `name`: the logger, by default that of the node servers of this process."""
    handler, logger = Lines(), logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
