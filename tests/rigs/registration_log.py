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

    async def until(self, *texts: str) -> None:
        """Waits until each of these has been logged."""
        async with asyncio.timeout(20):
            while not all(any(text in line for line in self.lines) for text in texts):
                await self.added.wait()


@contextmanager
def registration_log() -> Iterator[Lines]:
    """Collects the lines meanwhile."""
    handler, logger = Lines(), logging.getLogger("lanemesh.registration")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
