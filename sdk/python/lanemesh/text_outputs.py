"""Text outputs of a run as they are kept and sent: many consecutive updates in one object.

Most updates of a run are short texts. An `Update` message of each would cost more than all other work of their delivery.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lanemesh.items import ITEM_OVERHEAD_BYTES
from lanemesh.times import NANOSECONDS
from lanemesh.v1 import update_pb2


class TextOutputs:
    """Consecutive outputs of one target: texts without envelopes. Immutable, once it is numbered."""

    __slots__ = ("component", "first", "name", "port", "size", "texts", "time")

    def __init__(
        self,
        component: str,
        port: str,
        texts: list[str],
        *,
        size: int = 0,
        first: int = 0,
        time: int = 0,
        name: str = "",
    ) -> None:
        """Creates the outputs.

        Args:
            component: the target.
            port: its input.
            texts: at least one.
            size: what they count in bytes; 0: not known.
            first: the number of the first update.
            time: when they happened, in ns since 1970.
            name: the name of the result that they belong to; empty: the target.
        """
        self.component = component
        self.port = port
        self.texts = texts
        self.size = size or size_of(texts)
        self.first = first
        self.time = time
        self.name = name

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def last(self) -> int:
        """The number of the last update."""
        return self.first + len(self.texts) - 1

    def part(self, start: int, stop: int | None = None) -> TextOutputs:
        """The outputs from one position to before another; itself, if these are all."""
        if start == 0 and (stop is None or stop >= len(self.texts)):
            return self
        texts = self.texts[start:stop]
        return TextOutputs(self.component, self.port, texts, first=self.first + start, time=self.time, name=self.name)

    def updates(self) -> Iterator[update_pb2.Update]:
        """Each output as an update."""
        seconds, nanos = divmod(self.time, NANOSECONDS)
        for number, text in enumerate(self.texts, self.first):
            update = update_pb2.Update(sequence=number)
            update.time.seconds, update.time.nanos = seconds, nanos
            output = update.output
            output.component, output.port, output.name = self.component, self.port, self.name
            output.item.text = text
            yield update

    def to_proto(self) -> update_pb2.TextOutputs:
        """The outputs as a message."""
        message = update_pb2.TextOutputs(
            first_sequence=self.first, component=self.component, port=self.port, texts=self.texts, name=self.name
        )
        message.time.seconds, message.time.nanos = divmod(self.time, NANOSECONDS)
        return message

    @classmethod
    def from_proto(cls, message: update_pb2.TextOutputs) -> TextOutputs:
        """The outputs that a message carries."""
        time = message.time.seconds * NANOSECONDS + message.time.nanos
        return cls(
            message.component,
            message.port,
            list(message.texts),
            first=message.first_sequence,
            time=time,
            name=message.name,
        )


Entry = update_pb2.Update | TextOutputs
"""One or more consecutive updates of a run."""


def size_of(texts: Sequence[str]) -> int:
    """What outputs of texts count in bytes: as much as on a lane."""
    joined = "".join(texts)
    return (len(joined) if joined.isascii() else len(joined.encode())) + ITEM_OVERHEAD_BYTES * len(texts)


def size_of_entry(entry: Entry) -> int:
    """What an entry counts in bytes."""
    return entry.size if isinstance(entry, TextOutputs) else entry.ByteSize()


def first_of(entry: Entry) -> int:
    """The number of the first update of an entry."""
    return entry.first if isinstance(entry, TextOutputs) else entry.sequence


def last_of(entry: Entry) -> int:
    """The number of the last update of an entry."""
    return entry.last if isinstance(entry, TextOutputs) else entry.sequence


def count_of(entries: Iterable[Entry]) -> int:
    """The number of updates."""
    return sum(len(entry) if isinstance(entry, TextOutputs) else 1 for entry in entries)


def each_update(entries: Iterable[Entry]) -> Iterator[update_pb2.Update]:
    """Every update of these entries."""
    for entry in entries:
        if isinstance(entry, TextOutputs):
            yield from entry.updates()
        else:
            yield entry


def merged(updates: Sequence[update_pb2.Update], outputs: Sequence[update_pb2.TextOutputs]) -> list[Entry]:
    """The entries of a frame in the order of their numbers."""
    entries: list[Entry] = [*updates, *(TextOutputs.from_proto(one) for one in outputs if one.texts)]
    if updates and len(entries) > len(updates):
        entries.sort(key=first_of)
    return entries
