"""What every system is asked to do: the same chain of source, upper-case and count, over the same texts."""

import json
import mmap
import struct
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

MEBIBYTE = 1 << 20
PROGRESS = struct.Struct("<Q")
"""What a file of `Work.progress` holds."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One run of the chain."""

    items: int
    """How many items the source makes."""
    every: int
    """The count stage emits its running count with every so manieth item, and at the end of the stream."""
    interval_s: float = 0.0
    """Seconds that the source waits after each item; 0 for as fast as it can."""
    progress: str = ""
    """Path of a file of eight bytes, in which the source keeps how many items it has made; empty: it does not."""

    def to_json(self) -> str:
        """The text that travels to the source of a chain of processes."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Work":
        """The inverse of `to_json`."""
        return cls(**json.loads(text))


def texts(work: Work) -> Iterator[str]:
    """The source's items; a paced source sleeps `interval_s` after each.

    An item of a paced source ends with the moment it was made, in ns of CLOCK_MONOTONIC: all processes of one machine
    share that clock, so that the client can subtract.
    """
    if work.progress:
        yield from _recorded(work)
        return
    for number in range(work.items):
        yield f"token {time.monotonic_ns() if work.interval_s else number}"


def _recorded(work: Work) -> Iterator[str]:
    with open(work.progress, "r+b") as file, mmap.mmap(file.fileno(), PROGRESS.size) as shared:
        for number in range(work.items):
            PROGRESS.pack_into(shared, 0, number + 1)
            yield f"token {number}"


def age_ms(result: str) -> float:
    """How long ago the last item behind a result of the count stage was made, in ms."""
    return (time.monotonic_ns() - int(result.rsplit(" ", 1)[-1])) / 1e6


class Count:
    """The count stage's rule: `every` items, or at the end, the number of items and the last of them."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._last = ""
        self.seen = 0

    def take(self, text: str) -> str | None:
        """Counts one item; the result to emit now, if any."""
        self.seen += 1
        if self.seen % self._every:
            self._last = text
            return None
        self._last = ""
        return f"{self.seen} {text}"

    def end(self) -> str | None:
        """The result to emit at the end of the stream, if the last item did not bring one."""
        return f"{self.seen} {self._last}" if self._last else None
