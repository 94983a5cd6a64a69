"""Times and durations: as seconds, in protobuf messages, and in words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

NANOSECONDS = 1_000_000_000


def stamp(moment: Timestamp) -> None:
    """Sets a timestamp to now. Its own `GetCurrentTime` goes through `datetime`, which takes ten times as long."""
    moment.seconds, moment.nanos = divmod(time.time_ns(), NANOSECONDS)


def seconds_of(value: Duration | Timestamp) -> float:
    """A duration in seconds, or a time in seconds since 1970."""
    return value.seconds + value.nanos / NANOSECONDS


def set_seconds(value: Duration | Timestamp, seconds: float) -> None:
    """Sets a duration, or a time since 1970, to the nearest nanosecond; a negative one to zero."""
    value.seconds, value.nanos = divmod(max(0, round(seconds * NANOSECONDS)), NANOSECONDS)


def duration(seconds: float) -> Duration:
    """Seconds as a protobuf duration; negative ones as zero."""
    value = Duration()
    set_seconds(value, seconds)
    return value


def measured(seconds: float) -> str:
    """A measured time: `0.25 s`, `12.3 s`."""
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"


def span(seconds: float) -> str:
    """How long something has lasted: `4.2 s`, `312 s`, `75 min`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    return f"{int(seconds)} s" if seconds < 600 else f"{int(seconds / 60)} min"


def age(seconds: float) -> str:
    """A time in its largest unit: `40 s`, `3 min`, `2 h`, `5 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds / size)} {unit}"
    return f"{max(0, int(seconds))} s"
