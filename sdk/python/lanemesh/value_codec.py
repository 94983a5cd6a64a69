"""Values of lanes, and what they consist of, to and from their protobuf messages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

from lanemesh.json_text import dump_json, read_json
from lanemesh.v1 import lane_pb2
from lanemesh.values import (
    Answer,
    Document,
    Example,
    Image,
    Media,
    Message,
    Question,
    Table,
    ToolCall,
    ToolSpec,
    Usage,
)

AnyMedia = TypeVar("AnyMedia", bound=Media)


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


def encode_question(item: lane_pb2.Item, question: Question) -> None:
    """Sets the payload of an item to a question."""
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


def decode_question(question: lane_pb2.Question) -> Question:
    """The question that a message carries. Raises ValueError if its schema is not JSON."""
    return Question(
        text=question.text,
        instructions=question.instructions,
        history=tuple(map(decode_message, question.history)),
        examples=tuple(Example(pair.question, pair.answer) for pair in question.examples),
        documents=tuple(map(decode_document, question.documents)),
        schema=load_json(question.schema_json) if question.schema_json else None,
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
    data = load_json(answer.data_json) if answer.data_json else None
    calls = tuple(map(decode_call, answer.tool_calls)) if answer.tool_calls else ()
    return Answer(answer.text, data, answer.finish_reason, usage, calls)


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
        metadata=load_json(document.metadata_json) if document.metadata_json else {},
        file=decode_media(Media, document.file) if document.HasField("file") else None,
    )


def encode_table(item: lane_pb2.Item, table: Table) -> None:
    """Sets the payload of an item to a table."""
    item.table.SetInParent()
    item.table.columns.extend(table.columns)
    item.table.rows.extend(lane_pb2.TableRow(cells_json=map(dump_json, row)) for row in table.rows)


def decode_table(item: lane_pb2.Item) -> Table:
    """The table in an item. Raises ValueError if a cell is not JSON."""
    rows = tuple(tuple(map(load_json, row.cells_json)) for row in item.table.rows)
    return Table(tuple(item.table.columns), rows)


def encode_media(message: lane_pb2.Media, media: Media) -> None:
    """Fills an empty message with an image, or a piece of audio or video."""
    message.SetInParent()
    message.mime_type, message.content, message.uri = media.mime_type, media.content, media.uri
    if media.timestamp is not None:
        message.timestamp_seconds = media.timestamp
    message.width, message.height = media.width, media.height
    message.rate, message.channels = media.rate, media.channels


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


def _decode_images(images: Iterable[lane_pb2.Media]) -> tuple[Image, ...]:
    return tuple(decode_media(Image, image) for image in images)


def load_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError if it is none; numbers and keys are not checked."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")
