"""Logs what a peer can repeat at will: each thing once a minute at most."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict

from google.protobuf.message import DecodeError

PAUSE_SECONDS = 60.0
"""Least time between two log lines about one thing."""
MAX_THINGS = 256
"""Most things that are remembered; the one that was logged first is forgotten first."""


class LogOnce:
    """Warnings that a peer causes. Each is logged with the number of times that it was left out before."""

    def __init__(self, logger: logging.Logger, pause: float = PAUSE_SECONDS) -> None:
        """`pause`: seconds between two lines about one thing."""
        self._logger = logger
        self._pause = pause
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When each thing was logged, and how often it was left out since."""

    def warning(self, thing: str, message: str, *arguments: object) -> None:
        """Logs a warning unless the same `thing` was logged shortly before."""
        now = time.monotonic()
        logged, left_out = self._seen.get(thing, (now - self._pause, 0))
        if now - logged < self._pause:
            self._seen[thing] = (logged, left_out + 1)
            return
        self._seen.pop(thing, None)
        self._seen[thing] = (now, 0)
        if len(self._seen) > MAX_THINGS:
            self._seen.popitem(last=False)
        again = f"; {left_out} more since it was logged last" if left_out else ""
        self._logger.warning(f"{message}%s", *arguments, again)


class UnreadableRequests(logging.Filter):
    """Logs requests that are no messages of their method once a minute, in a line. gRPC logs each with a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._lines = LogOnce(logging.getLogger("lanemesh.grpc"))

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether gRPC's own line is kept."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, DecodeError):
            return True
        text = record.getMessage()
        self._lines.warning(text, "a request cannot be read, and is refused: %s: %s", text, error)
        return False


GRPC_LOGGER = logging.getLogger("grpc._cython.cygrpc")
"""Where gRPC reports errors of handlers."""
UNREADABLE_REQUESTS = UnreadableRequests()


def host_of_peer(peer: str | None) -> str:
    """The host of a peer as gRPC names it, such as "ipv4:127.0.0.1:50000", without the port."""
    return (peer or "").rpartition(":")[0] if (peer or "").startswith("ip") else (peer or "")
