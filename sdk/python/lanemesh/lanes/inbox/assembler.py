"""Assembles the pieces of groups at an input into wholes. Pure: no asyncio, no lanes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from lanemesh.items import ABSENT, ITEM_OVERHEAD_BYTES, MAX_MEDIA_BYTES, Envelope, GroupOutcome, Item, LaneType, Lineage
from lanemesh.values import Answer, Document, Media

MAX_OPEN_ITEMS = 100_000
"""Most pieces of incomplete wholes that an input holds."""
MAX_OPEN_BYTES = 64 * 1024 * 1024
"""Most bytes of these pieces: 64 MiB."""
MAX_OPEN_FILE_BYTES = MAX_MEDIA_BYTES
"""The same of media, documents and inputs of any lane, whose pieces may be those of a file: 256 MiB."""

Join = Callable[[list[Any]], Any]
"""Makes a whole from its pieces, at least one."""


def join_text(pieces: Sequence[str]) -> str:
    """The concatenated texts."""
    return "".join(pieces)


def join_answers(pieces: Sequence[Answer]) -> Answer:
    """The concatenated texts and tool calls, with the last data, finish reason and usage that a piece has."""
    data = next((piece.data for piece in reversed(pieces) if piece.data is not None), None)
    usage = next((piece.usage for piece in reversed(pieces) if piece.usage is not None), None)
    reason = next((piece.finish_reason for piece in reversed(pieces) if piece.finish_reason), "")
    calls = tuple(call for piece in pieces for call in piece.tool_calls)
    return Answer("".join(piece.text for piece in pieces), data, reason, usage, calls)


def join_documents(pieces: Sequence[Document]) -> Document:
    """The concatenated contents and files, with the other fields of the first piece except those that describe a chunk only."""
    if len(pieces) == 1:
        return pieces[0]
    content = "".join(piece.content for piece in pieces)
    files = [piece.file for piece in pieces if piece.file is not None]
    file = join_media(files) if files else None
    return replace(pieces[0], content=content, chunk_index=None, embedding=(), score=None, file=file)


def join_media(pieces: Sequence[Media]) -> Media:
    """The concatenated contents, with the other fields of the first piece."""
    if len(pieces) == 1:
        return pieces[0]
    if any(piece.uri for piece in pieces):
        raise ValueError("pieces with a URI cannot be assembled")
    return replace(pieces[0], content=b"".join(piece.content for piece in pieces))


def join_any(pieces: Sequence[Any]) -> Any:
    """The whole of pieces of one type, of any lane."""
    if len(pieces) == 1:
        return pieces[0]
    for kind, join in _JOINS_OF.items():
        if all(isinstance(piece, kind) for piece in pieces):
            return join(pieces)
    kinds = ", ".join(sorted({type(piece).__name__ for piece in pieces}))
    raise ValueError(f"pieces of the type {kinds} cannot be assembled")


_JOINS_OF: Mapping[type, Callable[[Any], Any]] = {
    str: join_text,
    Answer: join_answers,
    Document: join_documents,
    Media: join_media,
}

JOINS: Mapping[LaneType, Join] = {
    LaneType.TEXT: join_text,
    LaneType.ANSWERS: join_answers,
    LaneType.DOCUMENTS: join_documents,
    LaneType.IMAGE: join_media,
    LaneType.AUDIO: join_media,
    LaneType.VIDEO: join_media,
}
"""The join function of each lane type whose pieces can be assembled."""


def max_open_bytes(join: Join) -> int:
    """Most bytes of the pieces of incomplete wholes that an input holds, by its join function."""
    return MAX_OPEN_FILE_BYTES if join in (join_documents, join_media, join_any) else MAX_OPEN_BYTES


class TooMuchOpen(Exception):
    """An input holds too many pieces of incomplete wholes."""

    def __init__(self, items: int, size: int) -> None:
        super().__init__(f"{items:,} pieces of {size:,} bytes")
        self.items = items
        self.size = size


@dataclass(slots=True)
class _Open:
    """An incomplete whole."""

    values: list[Any] = field(default_factory=list)
    size: int = 0
    pieces: int = 0
    marks: _Marks | None = None


@dataclass(slots=True)
class _Marks:
    """The content of the pieces' envelopes besides their group."""

    forks: Mapping[str, int] | None
    done: frozenset[str]
    metadata: dict[str, str]
    created_at: datetime | None
    only_ends: bool
    """There is no value: the end of a group does not limit the tags unless it names some."""

    @classmethod
    def of(cls, envelope: Envelope, value: Any) -> _Marks:
        lineage = envelope.lineage
        return cls(
            lineage.forks if lineage is not None else None,
            lineage.done if lineage is not None else frozenset(),
            dict(envelope.metadata or {}),
            envelope.created_at,
            value is ABSENT,
        )

    def and_then(self, later: _Marks) -> None:
        """Adds the marks of the next piece. The whole has no tag on which its pieces disagree."""
        if self.forks is None or later.forks is None:
            self.forks = self.forks if later.only_ends else None
        elif self.forks != later.forks:
            self.forks = {fork: number for fork, number in self.forks.items() if later.forks.get(fork) == number}
        self.done |= later.done
        self.metadata |= later.metadata

    def envelope(self) -> Envelope | None:
        lineage = Lineage(self.forks, self.done & self.forks.keys()) if self.forks else None
        if lineage is None and not self.metadata and self.created_at is None:
            return None
        return Envelope(lineage=lineage, metadata=self.metadata or None, created_at=self.created_at)


class Assembler:
    """Assembles the pieces of each group. An item without a group is a whole by itself.

    A group is identified by its source, which is the edge, and its id. Groups may be interleaved.
    """

    def __init__(self, join: Join, max_items: int = MAX_OPEN_ITEMS, max_bytes: int = MAX_OPEN_BYTES) -> None:
        self._join = join
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._open: dict[str, dict[str, _Open]] = {}
        self.failed = 0
        """Wholes that were never completed, because their producers failed or were cancelled."""
        self.open_items = 0
        """Pieces of incomplete wholes."""
        self.open_bytes = 0
        """Bytes of these pieces."""

    @property
    def open_groups(self) -> int:
        """Incomplete wholes."""
        return sum(map(len, self._open.values()))

    def put(self, source: str, item: Item) -> Item | None:
        """Adds a piece. Returns the whole that it completes, or an item without a value that is to be passed on.

        Raises:
            TooMuchOpen: the input would hold too many pieces.
            ValueError: the pieces do not make a whole.
        """
        envelope = item.envelope
        group = envelope.group if envelope is not None else None
        if envelope is None or group is None:
            return item
        groups = self._open.setdefault(source, {})
        whole = groups.get(group.id)
        if whole is None:
            whole = groups[group.id] = _Open()
        self._add(whole, item, _Marks.of(envelope, item.value))
        if not group.last:
            if self.open_items > self._max_items or self.open_bytes > self._max_bytes:
                raise TooMuchOpen(self.open_items, self.open_bytes)
            return None
        self._forget(groups.pop(group.id))
        if group.outcome is not GroupOutcome.OK:
            self.failed += 1
            return _without_value(whole)
        return self._whole(whole)

    def end(self, source: str, *, clean: bool) -> list[Item]:
        """A producer has ended. Returns the open wholes of the source, if it has ended cleanly."""
        wholes = [self._forget(whole) for whole in self._open.pop(source, {}).values()]
        if clean:
            return [item for item in map(self._whole, wholes) if item is not None]
        self.failed += len(wholes)
        return []

    def drop(self, source: str) -> None:
        """Discards the open wholes of a source."""
        for whole in self._open.pop(source, {}).values():
            self._forget(whole)

    def _add(self, whole: _Open, item: Item, marks: _Marks) -> None:
        if item.value is not ABSENT:
            whole.values.append(item.value)
        whole.size += item.size
        whole.pieces += 1
        self.open_items += 1
        self.open_bytes += item.size
        if whole.marks is None:
            whole.marks = marks
        else:
            whole.marks.and_then(marks)

    def _forget(self, whole: _Open) -> _Open:
        self.open_items -= whole.pieces
        self.open_bytes -= whole.size
        return whole

    def _whole(self, whole: _Open) -> Item | None:
        if not whole.values:
            return _without_value(whole)
        envelope = whole.marks.envelope() if whole.marks is not None else None
        return Item(self._join(whole.values), whole.size, envelope)


def _without_value(whole: _Open) -> Item | None:
    """The item without a value that is passed on for a whole that was never completed: it completes the whole's tags."""
    marks = whole.marks
    if marks is None or marks.forks is None:
        return None
    done = {fork: number for fork, number in marks.forks.items() if fork in marks.done}
    if not done:
        return None
    return Item(ABSENT, ITEM_OVERHEAD_BYTES, Envelope(lineage=Lineage(done, frozenset(done))))
