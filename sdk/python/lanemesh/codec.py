"""Items of every lane type: made of values that their lane may carry, and to and from their protobuf form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from typing import Any

from lanemesh.faults import ValueRefused
from lanemesh.items import (
    ABSENT,
    ADMIT,
    CHUNK_BYTES,
    ITEM_OVERHEAD_BYTES,
    MAX_VALUE_BYTES,
    Envelope,
    Group,
    GroupOutcome,
    Item,
    LaneType,
    Lineage,
    admit_metadata,
    refusal,
    within_limit,
)
from lanemesh.json_text import dump_json
from lanemesh.v1 import lane_pb2
from lanemesh.value_codec import (
    decode_answer,
    decode_document,
    decode_media,
    decode_question,
    decode_table,
    encode_answer,
    encode_document,
    encode_media,
    encode_question,
    encode_table,
    load_json,
)
from lanemesh.values import (
    Audio,
    Image,
    Media,
    Tags,
    Video,
    bytes_of,
    with_bytes,
)


def encode(lane_type: LaneType, item: Item) -> lane_pb2.Item:
    """The protobuf form of an item."""
    message = lane_pb2.Item()
    encode_into(message, lane_type, item)
    return message


def encode_into(message: lane_pb2.Item, lane_type: LaneType, item: Item) -> None:
    """Fills an empty message with an item; spares a copy of what it carries."""
    if item.value is not ABSENT:
        _ENCODE[lane_type](message, item.value)
    if item.envelope is not None:
        _encode_envelope(item.envelope, message)


def decode(lane_type: LaneType, message: lane_pb2.Item) -> Item:
    """The item that a message carries.

    Raises:
        ValueError: its payload is not of the lane's type, or no valid value of it.
    """
    field = message.WhichOneof("payload")
    envelope = _decode_envelope(message)
    if field is None:
        if envelope is None:
            raise ValueError("an item has neither a value nor an envelope")
        return Item(ABSENT, ITEM_OVERHEAD_BYTES, envelope)
    if field != _FIELD[lane_type]:
        raise ValueError(f"an item carries {field} on a lane of type {lane_type.value}")
    try:
        return make_item(lane_type, _DECODE[lane_type](message), envelope)
    except (TypeError, RecursionError, ValueRefused) as error:
        raise ValueError(f"not a valid value of lane type {lane_type.value}: {error}") from None


def make_item(lane_type: LaneType, value: Any, envelope: Envelope | None = None, *, where: str = "") -> Item:
    """An item for a lane of the given type. `where` names the emitting node and port in errors.

    Raises:
        ValueRefused: the lane may not carry the value.
    """
    if value is ABSENT and envelope is not None:
        return Item(value, ITEM_OVERHEAD_BYTES, envelope)
    try:
        if envelope is not None and envelope.metadata is not None:
            envelope = replace(envelope, metadata=admit_metadata(envelope.metadata))
        admitted, size = ADMIT[lane_type](value)
        item = Item(admitted, size, envelope)
        if size > MAX_VALUE_BYTES // 8 and not isinstance(admitted, Media):
            within_limit(_message_bytes(lane_type, item))
    except (TypeError, ValueError) as error:
        raise refusal(lane_type, error, where) from None
    return item


def _message_bytes(lane_type: LaneType, item: Item) -> int:
    """The bytes of the message of an item, exactly: JSON may escape a character to six bytes. Leading chunks do not count."""
    content = bytes_of(item.value)
    if content is not None and len(content) > CHUNK_BYTES:
        item = item._replace(value=with_bytes(item.value, content[:CHUNK_BYTES]))
    return encode(lane_type, item).ByteSize()


def lane_type_of(message: lane_pb2.Item) -> LaneType:
    """The lane type of an item's payload. Raises ValueError if it has none."""
    field = message.WhichOneof("payload")
    if field is None:
        raise ValueError("the item carries no value")
    return _LANE_TYPE[field]


def _encode_text(item: lane_pb2.Item, value: str) -> None:
    item.text = value


def _encode_tags(item: lane_pb2.Item, value: Tags) -> None:
    item.tags_json = dump_json(value)


def _encode_data(item: lane_pb2.Item, value: Any) -> None:
    item.data_json = dump_json(value)


def _decode_tags(item: lane_pb2.Item) -> Tags:
    tags = load_json(item.tags_json)
    if not isinstance(tags, dict):
        raise TypeError(f"tags must be an object, not {type(tags).__name__}")
    return Tags(tags)


_FIELD = {lane_type: lane_type.value.removesuffix("s") for lane_type in LaneType} | {
    LaneType.TAGS: "tags_json",
    LaneType.DATA: "data_json",
}

_LANE_TYPE = {field: lane_type for lane_type, field in _FIELD.items()}

_ENCODE: dict[LaneType, Callable[[lane_pb2.Item, Any], None]] = {
    LaneType.TEXT: _encode_text,
    LaneType.QUESTIONS: encode_question,
    LaneType.ANSWERS: lambda item, value: encode_answer(item.answer, value),
    LaneType.DOCUMENTS: lambda item, value: encode_document(item.document, value),
    LaneType.TABLE: encode_table,
    LaneType.TAGS: _encode_tags,
    LaneType.IMAGE: lambda item, value: encode_media(item.image, value),
    LaneType.AUDIO: lambda item, value: encode_media(item.audio, value),
    LaneType.VIDEO: lambda item, value: encode_media(item.video, value),
    LaneType.DATA: _encode_data,
}

_DECODE: dict[LaneType, Callable[[lane_pb2.Item], Any]] = {
    LaneType.TEXT: lambda item: item.text,
    LaneType.QUESTIONS: lambda item: decode_question(item.question),
    LaneType.ANSWERS: lambda item: decode_answer(item.answer),
    LaneType.DOCUMENTS: lambda item: decode_document(item.document),
    LaneType.TABLE: decode_table,
    LaneType.TAGS: _decode_tags,
    LaneType.IMAGE: lambda item: decode_media(Image, item.image),
    LaneType.AUDIO: lambda item: decode_media(Audio, item.audio),
    LaneType.VIDEO: lambda item: decode_media(Video, item.video),
    LaneType.DATA: lambda item: load_json(item.data_json),
}


def _encode_envelope(envelope: Envelope, message: lane_pb2.Item) -> None:
    group, lineage = envelope.group, envelope.lineage
    if group is not None:
        message.group.id, message.group.index, message.group.last = group.id, group.index, group.last
        message.group.outcome = group.outcome.value  # type: ignore[assignment]
        message.group.SetInParent()
    if lineage is not None:
        message.lineage.forks.update(lineage.forks)
        if lineage.done:
            message.lineage.done = lineage.done >= lineage.forks.keys()
            if not message.lineage.done:
                message.lineage.done_forks.extend(sorted(lineage.done))
        message.lineage.SetInParent()
    if envelope.metadata:
        message.metadata.update(envelope.metadata)
    if envelope.created_at is not None:
        message.created_at.FromDatetime(envelope.created_at)


def _decode_envelope(message: lane_pb2.Item) -> Envelope | None:
    group = lineage = created_at = None
    if message.HasField("group"):
        wire = message.group
        outcome = GroupOutcome(wire.outcome) if wire.outcome in (0, 1, 2) else GroupOutcome.ERROR
        group = Group(wire.id, wire.index, wire.last, outcome)
    if message.HasField("lineage"):
        forks = dict(message.lineage.forks)
        lineage = Lineage(forks, frozenset(forks if message.lineage.done else message.lineage.done_forks))
    if message.HasField("created_at"):
        created_at = message.created_at.ToDatetime(tzinfo=UTC)
    metadata = dict(message.metadata) if message.metadata else None
    if group is None and lineage is None and metadata is None and created_at is None:
        return None
    return Envelope(group=group, lineage=lineage, metadata=metadata, created_at=created_at)
