"""The event streams of a gateway that are open, and their end when the gateway stops."""

from __future__ import annotations

import time
from typing import Protocol

LAST_SECONDS = 1.0
"""How long event streams may go on when the gateway stops, in seconds."""
ALL_ENDED_SECONDS = 4.0
"""How long after the gateway begins to stop all event streams have ended, in seconds: before its server cuts off what is left."""


class OpenStream(Protocol):
    """An event stream."""

    def end(self, within: float = 0.0) -> None:
        """Ends it after this time in seconds if it has not ended by itself."""


class OpenStreams:
    """The open event streams of a gateway."""

    def __init__(self) -> None:
        self._open: set[OpenStream] = set()
        self.ends_at: float | None = None
        """The time of the monotonic clock by which all streams have ended; None: the gateway goes on."""

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def add(self, stream: OpenStream) -> None:
        """A stream has begun, which may be while the gateway stops."""
        self._open.add(stream)
        if self.ends_at is not None:
            stream.end(min(LAST_SECONDS, self.ends_at - time.monotonic()))

    def remove(self, stream: OpenStream) -> None:
        """A stream has ended."""
        self._open.discard(stream)

    def end(self) -> None:
        """Ends every stream, so that clients continue at another gateway while this one stops. A run that has ended just now, as
        when its orchestrator stops as well, ends its stream itself, for which it has `LAST_SECONDS`. A stream that begins later,
        after its first output, has as long, but none goes on for more than `ALL_ENDED_SECONDS` after the first call."""
        if self.ends_at is None:
            self.ends_at = time.monotonic() + ALL_ENDED_SECONDS
        for stream in list(self._open):
            stream.end(LAST_SECONDS)
