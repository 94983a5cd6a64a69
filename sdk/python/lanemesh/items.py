"""Items: values on their way, and what each lane type admits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from lanemesh.faults import Code, Fault, ValueRefused
from lanemesh.json_values import FrozenDict, check_text, copy_json
from lanemesh.rendering import rendered
from lanemesh.v1 import lane_pb2
from lanemesh.values import Answer, Audio, Document, Image, Media, Question, Table, Tags, Video

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest gRPC message, and so largest value other than media."""
MAX_VALUE_BYTES = MAX_MESSAGE_BYTES - 64 * 1024
"""Largest value other than media: a message less room for what surrounds the value."""
MAX_MEDIA_BYTES = 256 * 1024 * 1024
"""Largest content of a media value, or of the file of a document; it travels in chunks."""
CHUNK_BYTES = 1024 * 1024
"""Largest part of such a content that travels in one frame: 1 MiB."""
MAX_METADATA_BYTES = 16 * 1024
"""Largest metadata of an item: it has to fit beside the largest value."""
ITEM_OVERHEAD_BYTES = 16
"""What an item counts against limits in bytes besides its value, so that empty items count too."""


class LaneType(Enum):
    """The types of lanes, under the names that pipelines use."""

    TEXT = "text"
    QUESTIONS = "questions"
    ANSWERS = "answers"
    DOCUMENTS = "documents"
    TABLE = "table"
    TAGS = "tags"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DATA = "data"

    @property
    def wire(self) -> lane_pb2.LaneType.ValueType:
        """The type as protobuf has it."""
        return lane_pb2.LaneType.Value(f"LANE_TYPE_{self.name}")

    @classmethod
    def from_wire(cls, wire: int) -> LaneType:
        """The type that protobuf names. Raises ValueError for unspecified and unknown ones."""
        found = _BY_WIRE.get(wire)
        if found is None:
            raise ValueError(f"{wire} is not a lane type")
        return found


_BY_WIRE = {int(lane_type.wire): lane_type for lane_type in LaneType}


class GroupOutcome(Enum):
    """How a group ended."""

    OK = 0
    ERROR = 1
    CANCELLED = 2


FILE_NAME = "file_name"
"""The key in the metadata of an item with the name of the file that it comes from."""


@dataclass(frozen=True, slots=True)
class Group:
    """Marks the pieces of one whole, such as the tokens of an answer."""

    id: str
    """Unique within the run."""
    index: int
    """Place of the piece in the whole, from 0."""
    last: bool = False
    """No more pieces follow."""
    outcome: GroupOutcome = GroupOutcome.OK
    """How the group ended; meaningful with `last`."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """From which item of which fork an item descends."""

    forks: Mapping[str, int]
    """Output that forks, as "component.port", to the number of the item it sent."""
    done: frozenset[str] = frozenset()
    """Those of the forks for whose number this is the last item on its lane. It may have no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What is known of a value besides itself. Most items have none."""

    group: Group | None = None
    lineage: Lineage | None = None
    metadata: Mapping[str, str] | None = None
    created_at: datetime | None = None


class Absent(Enum):
    """The value of an item that carries only an envelope."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent.ABSENT


class Item(NamedTuple):
    """One value on a lane. Its sequence number is its place there."""

    value: Any
    """The value; ABSENT if the item carries only an envelope."""
    size: int
    """What it counts against limits in bytes."""
    envelope: Envelope | None = None
    """What is known of it."""


Admit = Callable[[Any], tuple[Any, int]]
"""Checks a value and makes it safe from later changes: returns what the lane shall carry, and its size in bytes.
Raises TypeError or ValueError."""


def admit_text(value: Any) -> tuple[str, int]:
    """Admits str."""
    if not isinstance(value, str):
        raise TypeError(f"expected str, got {type(value).__name__}")
    text = value if type(value) is str else str.__str__(value)
    return text, within_limit(check_text(text) + ITEM_OVERHEAD_BYTES)


def admit_data(value: Any) -> tuple[Any, int]:
    """Admits a JSON value, copied."""
    kind = type(value)
    if value is None or kind is bool:
        return value, ITEM_OVERHEAD_BYTES
    copied = copy_json(value)
    return copied, within_limit(_measure(copied) + ITEM_OVERHEAD_BYTES)


def _admit_instance(kind: type) -> Admit:
    def admit(value: Any) -> tuple[Any, int]:
        if not isinstance(value, kind):
            raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
        return value, within_limit(_measure(value) + ITEM_OVERHEAD_BYTES)

    return admit


def _admit_media(kind: type[Media]) -> Admit:
    def admit(value: Any) -> tuple[Any, int]:
        if not isinstance(value, kind):
            raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
        _within_media_limit(value)
        return value, len(value.content) + within_limit(_measure((value.uri, value.mime_type)) + ITEM_OVERHEAD_BYTES)

    return admit


def _admit_document(value: Any) -> tuple[Document, int]:
    if not isinstance(value, Document):
        raise TypeError(f"expected Document, got {type(value).__name__}")
    size = _measure(value) + ITEM_OVERHEAD_BYTES
    if value.file is None:
        return value, within_limit(size)
    _within_media_limit(value.file)
    within_limit(size - max(0, len(value.file.content) - CHUNK_BYTES))  # the message has the last chunk
    return value, size


def _within_media_limit(media: Media) -> None:
    if len(media.content) > MAX_MEDIA_BYTES:
        raise ValueError(f"{len(media.content):,} bytes of media; the limit is {MAX_MEDIA_BYTES:,} (256 MiB)")


def _admit_tags(value: Any) -> tuple[Tags, int]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected Tags, got {type(value).__name__}")
    tags = value if isinstance(value, Tags) else Tags(value)
    return tags, within_limit(_measure(tags) + ITEM_OVERHEAD_BYTES)


ADMIT: dict[LaneType, Admit] = {
    LaneType.TEXT: admit_text,
    LaneType.QUESTIONS: _admit_instance(Question),
    LaneType.ANSWERS: _admit_instance(Answer),
    LaneType.DOCUMENTS: _admit_document,
    LaneType.TABLE: _admit_instance(Table),
    LaneType.TAGS: _admit_tags,
    LaneType.IMAGE: _admit_media(Image),
    LaneType.AUDIO: _admit_media(Audio),
    LaneType.VIDEO: _admit_media(Video),
    LaneType.DATA: admit_data,
}
"""What each lane type admits."""


def admit_metadata(metadata: Mapping[str, str]) -> FrozenDict:
    """Admits free annotations, copied. Raises TypeError or ValueError if they are no texts, or too large."""
    for key, text in metadata.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"the item's metadata must be texts; {rendered(key)} is {type(text).__name__}")
        check_text(key)
    size = _measure(metadata)
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"{size:,} bytes of metadata; the limit is {MAX_METADATA_BYTES:,}")
    return FrozenDict(metadata)


def refusal(lane_type: LaneType, error: Exception, where: str) -> ValueRefused:
    """The error that reports why a lane may not carry a value."""
    return ValueRefused(
        Fault(
            code=Code.INVALID_ARGUMENT,
            reason="wrong-type" if isinstance(error, TypeError) else "wrong-value",
            message=f"{where or 'a node'} emitted a value that a lane of type {lane_type.value} cannot carry: {error}",
            details={"port": where, "lane-type": lane_type.value},
        )
    )


def within_limit(size: int) -> int:
    """The size of a value in bytes. Raises ValueError if it is above the limit of a lane."""
    if size > MAX_VALUE_BYTES:
        raise ValueError(f"{size:,} bytes; the limit is {MAX_VALUE_BYTES:,} (16 MiB minus a margin). Send it in pieces")
    return size


def _measure(value: Any) -> int:
    """About how many bytes a value takes on the wire; never less than an eighth of them."""
    if isinstance(value, str):
        return check_text(value) + 4
    if isinstance(value, bytes):
        return len(value) + 4
    if isinstance(value, Mapping):
        return 4 + sum(len(key) + 4 + _measure(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        if value and type(value[0]) is float and set(map(type, value)) == {float}:
            return 4 + 8 * len(value)
        return 4 + sum(map(_measure, value))
    if isinstance(value, Question):
        parts = (
            value.text,
            value.instructions,
            value.history,
            value.examples,
            value.documents,
            value.images,
            value.tools,
            value.schema or {},
        )
        return _measure(parts) + 4 * len(value.embedding)
    if isinstance(value, Answer):
        return (
            len(value.text) + 24
            if value.data is None and value.text.isascii() and not value.tool_calls
            else _measure((value.text, value.data, value.tool_calls)) + 24
        )
    if isinstance(value, Document):
        file = 0 if value.file is None else _measure(value.file)
        return _measure((value.content, value.id, value.source, value.metadata)) + 4 * len(value.embedding) + file + 24
    if isinstance(value, Table):
        return _measure(value.columns) + _measure(value.rows)
    slots = getattr(value, "__dataclass_fields__", None)
    if slots is not None:
        return sum(_measure(getattr(value, name)) for name in slots)
    return 8
