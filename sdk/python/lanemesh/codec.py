"""Items of every lane type: made of values that their lane may carry, and to and from their protobuf form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC
from typing import Any, TypeVar

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
from lanemesh.json_text import read_json
from lanemesh.v1 import lane_pb2
from lanemesh.values import (
    Answer,
    Audio,
    Document,
    Example,
    Image,
    Media,
    Message,
    Question,
    Table,
    Tags,
    ToolCall,
    ToolSpec,
    Usage,
    Video,
    bytes_of,
    with_bytes,
)

AnyMedia = TypeVar("AnyMedia", bound=Media)


def dump_json(value: Any) -> str:
    """JSON as text, compact. Raises ValueError on NaN and infinity."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


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


def encode_message(message: Message) -> lane_pb2.Message:
    """The protobuf form of a turn of a conversation."""
    calls = map(encode_call, message.tool_calls)
    encoded = lane_pb2.Message(
        role=message.role, content=message.content, tool_calls=calls, tool_call_id=message.tool_call_id
    )
    for image in message.images:
        encode_media(encoded.images.add(), image)
    return encoded


def decode_message(message: lane_pb2.Message) -> Message:
    """The turn of a conversation that a message carries."""
    calls = tuple(map(decode_call, message.tool_calls))
    return Message(message.role, message.content, calls, message.tool_call_id, _decode_images(message.images))


def encode_call(call: ToolCall) -> lane_pb2.ToolCall:
    """The protobuf form of a call."""
    return lane_pb2.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments)


def decode_call(message: lane_pb2.ToolCall) -> ToolCall:
    """The call that a message carries."""
    return ToolCall(message.id, message.name, message.arguments_json)


def encode_spec(spec: ToolSpec) -> lane_pb2.ToolSpec:
    """The protobuf form of a tool's description."""
    parameters = dump_json(spec.parameters) if spec.parameters else ""
    return lane_pb2.ToolSpec(name=spec.name, description=spec.description, parameters_json=parameters)


def decode_spec(spec: lane_pb2.ToolSpec) -> ToolSpec:
    """A tool's description. Raises ValueError or TypeError if its parameters are not a JSON object."""
    parameters = read_json(spec.parameters_json) if spec.parameters_json else {}
    if not isinstance(parameters, dict):
        raise TypeError(f"the parameters of a tool must be a JSON object, not {type(parameters).__name__}")
    return ToolSpec(spec.name, spec.description, parameters)


def encode_usage(usage: Usage) -> lane_pb2.Usage:
    """The protobuf form of what a generation used."""
    return lane_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost=usage.cost,
        tool_calls=usage.tool_calls,
    )


def decode_usage(usage: lane_pb2.Usage) -> Usage:
    """What a generation used."""
    cost = usage.cost if usage.HasField("cost") else None
    return Usage(usage.prompt_tokens, usage.completion_tokens, cost, usage.tool_calls)


def _decode_images(images: Iterable[lane_pb2.Media]) -> tuple[Image, ...]:
    return tuple(decode_media(Image, image) for image in images)


def _encode_question(item: lane_pb2.Item, question: Question) -> None:
    message = item.question
    message.SetInParent()
    message.text, message.instructions = question.text, question.instructions
    message.history.extend(map(encode_message, question.history))
    message.examples.extend(lane_pb2.Example(question=pair.question, answer=pair.answer) for pair in question.examples)
    for document in question.documents:
        encode_document(message.documents.add(), document)
    message.schema_json = "" if question.schema is None else dump_json(question.schema)
    message.embedding.extend(question.embedding)
    for image in question.images:
        encode_media(message.images.add(), image)
    message.tools.extend(map(encode_spec, question.tools))


def _decode_question(item: lane_pb2.Item) -> Question:
    return decode_question(item.question)


def decode_question(question: lane_pb2.Question) -> Question:
    """The question that a message carries. Raises ValueError if its schema is not JSON."""
    return Question(
        text=question.text,
        instructions=question.instructions,
        history=tuple(map(decode_message, question.history)),
        examples=tuple(Example(pair.question, pair.answer) for pair in question.examples),
        documents=tuple(map(decode_document, question.documents)),
        schema=_load_json(question.schema_json) if question.schema_json else None,
        embedding=tuple(question.embedding),
        images=_decode_images(question.images),
        tools=tuple(map(decode_spec, question.tools)),
    )


def encode_answer(message: lane_pb2.Answer, answer: Answer) -> None:
    """Sets a message to a piece of an answer."""
    message.SetInParent()
    message.text, message.finish_reason = answer.text, answer.finish_reason
    if answer.data is not None:
        message.data_json = dump_json(answer.data)
    if answer.usage is not None:
        message.usage.CopyFrom(encode_usage(answer.usage))
    if answer.tool_calls:
        message.tool_calls.extend(map(encode_call, answer.tool_calls))


def decode_answer(answer: lane_pb2.Answer) -> Answer:
    """The piece of an answer that a message carries. Raises ValueError if its data is not JSON."""
    usage = decode_usage(answer.usage) if answer.HasField("usage") else None
    data = _load_json(answer.data_json) if answer.data_json else None
    calls = tuple(map(decode_call, answer.tool_calls)) if answer.tool_calls else ()
    return Answer(answer.text, data, answer.finish_reason, usage, calls)


def _encode_answer(item: lane_pb2.Item, answer: Answer) -> None:
    encode_answer(item.answer, answer)


def _decode_answer(item: lane_pb2.Item) -> Answer:
    return decode_answer(item.answer)


def encode_document(message: lane_pb2.Document, document: Document) -> None:
    """Fills an empty message with a document."""
    message.SetInParent()
    message.content, message.id, message.source = document.content, document.id, document.source
    message.embedding.extend(document.embedding)
    if document.score is not None:
        message.score = document.score
    if document.chunk_index is not None:
        message.chunk_index = document.chunk_index
    message.metadata_json = dump_json(document.metadata) if document.metadata else ""
    if document.file is not None:
        encode_media(message.file, document.file)


def decode_document(document: lane_pb2.Document) -> Document:
    """The document in a message. Raises ValueError or TypeError if it is not a valid one."""
    return Document(
        content=document.content,
        id=document.id,
        embedding=tuple(document.embedding),
        score=document.score if document.HasField("score") else None,
        source=document.source,
        chunk_index=document.chunk_index if document.HasField("chunk_index") else None,
        metadata=_load_json(document.metadata_json) if document.metadata_json else {},
        file=decode_media(Media, document.file) if document.HasField("file") else None,
    )


def _encode_table(item: lane_pb2.Item, table: Table) -> None:
    item.table.SetInParent()
    item.table.columns.extend(table.columns)
    item.table.rows.extend(lane_pb2.TableRow(cells_json=map(dump_json, row)) for row in table.rows)


def _decode_table(item: lane_pb2.Item) -> Table:
    rows = tuple(tuple(map(_load_json, row.cells_json)) for row in item.table.rows)
    return Table(tuple(item.table.columns), rows)


def encode_media(message: lane_pb2.Media, media: Media) -> None:
    """Fills an empty message with an image, or a piece of audio or video."""
    message.SetInParent()
    message.mime_type, message.content, message.uri = media.mime_type, media.content, media.uri
    if media.timestamp is not None:
        message.timestamp_seconds = media.timestamp
    message.width, message.height = media.width, media.height
    message.rate, message.channels = media.rate, media.channels


def _encode_text(item: lane_pb2.Item, value: str) -> None:
    item.text = value


def _encode_tags(item: lane_pb2.Item, value: Tags) -> None:
    item.tags_json = dump_json(value)


def _encode_data(item: lane_pb2.Item, value: Any) -> None:
    item.data_json = dump_json(value)


def decode_media(kind: type[AnyMedia], media: lane_pb2.Media) -> AnyMedia:
    """The value of a kind in a message. Raises ValueError or TypeError if it is not a valid one."""
    return kind(
        mime_type=media.mime_type,
        content=media.content,
        uri=media.uri,
        timestamp=media.timestamp_seconds if media.HasField("timestamp_seconds") else None,
        width=media.width,
        height=media.height,
        rate=media.rate,
        channels=media.channels,
    )


def _decode_tags(item: lane_pb2.Item) -> Tags:
    tags = _load_json(item.tags_json)
    if not isinstance(tags, dict):
        raise TypeError(f"tags must be an object, not {type(tags).__name__}")
    return Tags(tags)


def _load_json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


_FIELD = {lane_type: lane_type.value.removesuffix("s") for lane_type in LaneType} | {
    LaneType.TAGS: "tags_json",
    LaneType.DATA: "data_json",
}

_LANE_TYPE = {field: lane_type for lane_type, field in _FIELD.items()}

_ENCODE: dict[LaneType, Callable[[lane_pb2.Item, Any], None]] = {
    LaneType.TEXT: _encode_text,
    LaneType.QUESTIONS: _encode_question,
    LaneType.ANSWERS: _encode_answer,
    LaneType.DOCUMENTS: lambda item, value: encode_document(item.document, value),
    LaneType.TABLE: _encode_table,
    LaneType.TAGS: _encode_tags,
    LaneType.IMAGE: lambda item, value: encode_media(item.image, value),
    LaneType.AUDIO: lambda item, value: encode_media(item.audio, value),
    LaneType.VIDEO: lambda item, value: encode_media(item.video, value),
    LaneType.DATA: _encode_data,
}

_DECODE: dict[LaneType, Callable[[lane_pb2.Item], Any]] = {
    LaneType.TEXT: lambda item: item.text,
    LaneType.QUESTIONS: _decode_question,
    LaneType.ANSWERS: _decode_answer,
    LaneType.DOCUMENTS: lambda item: decode_document(item.document),
    LaneType.TABLE: _decode_table,
    LaneType.TAGS: _decode_tags,
    LaneType.IMAGE: lambda item: decode_media(Image, item.image),
    LaneType.AUDIO: lambda item: decode_media(Audio, item.audio),
    LaneType.VIDEO: lambda item: decode_media(Video, item.video),
    LaneType.DATA: lambda item: _load_json(item.data_json),
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
