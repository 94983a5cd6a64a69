"""Requests, events and results of models and tools to and from their protobuf form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lanemesh.chat import (
    ChatEvent,
    ChatFinish,
    ChatRequest,
    ChatText,
    Sampling,
    ToolEvent,
    ToolPart,
    ToolProgress,
    ToolResult,
)
from lanemesh.json_text import dump_json, read_json
from lanemesh.times import seconds_of, set_seconds
from lanemesh.v1 import control_pb2, lane_pb2, update_pb2
from lanemesh.value_codec import (
    decode_call,
    decode_document,
    decode_media,
    decode_message,
    decode_spec,
    decode_usage,
    encode_call,
    encode_document,
    encode_media,
    encode_message,
    encode_spec,
    encode_usage,
)
from lanemesh.values import Audio, Document, Image, ToolCall, Usage, Video

_OPTIONAL = ("temperature", "top_p", "top_k", "max_tokens", "seed")


def encode_request(request: ChatRequest) -> control_pb2.GenerateRequest:
    """The protobuf form of a request. Raises ValueError if a number is outside what the wire carries."""
    given = {name: getattr(request.sampling, name) for name in _OPTIONAL}
    return control_pb2.GenerateRequest(
        messages=map(encode_message, request.messages),
        tools=[encode_spec(spec) for spec in request.tools],
        sampling=control_pb2.Sampling(**given, stop=request.sampling.stop),
        schema_json="" if request.schema is None else dump_json(request.schema),
    )


def decode_request(message: control_pb2.GenerateRequest) -> ChatRequest:
    """The request in a message. Raises ValueError or TypeError if a schema or the parameters of a tool are not a JSON object."""
    sampling = message.sampling
    given = {field.name: value for field, value in sampling.ListFields() if field.name in _OPTIONAL}
    return ChatRequest(
        messages=tuple(map(decode_message, message.messages)),
        tools=tuple(decode_spec(spec) for spec in message.tools),
        schema=decode_schema(message.schema_json),
        sampling=Sampling(**given, stop=tuple(sampling.stop)),
    )


class EventEncoder:
    """Encodes the events of one turn. The wire sends usage and finish reason together, as the last message."""

    def __init__(self) -> None:
        self._usage: lane_pb2.Usage | None = None

    def encode(self, event: ChatEvent) -> control_pb2.GenerateResponse | None:
        """The message of an event; None for usage, which goes with the end. Raises TypeError if it is no event."""
        match event:
            case ChatText():
                return control_pb2.GenerateResponse(text=event.text)
            case ToolCall():
                return control_pb2.GenerateResponse(tool_call=encode_call(event))
            case Usage():
                self._usage = encode_usage(event)
                return None
            case ChatFinish():
                done = control_pb2.GenerateDone(finish_reason=event.reason, usage=self._usage)
                return control_pb2.GenerateResponse(done=done)
        raise TypeError(f"{type(event).__name__} is not an event of a chat")


def decode_events(message: control_pb2.GenerateResponse) -> Iterator[ChatEvent]:
    """The events in a message: one, or usage and finish."""
    match message.WhichOneof("event"):
        case "text":
            yield ChatText(message.text)
        case "tool_call":
            yield decode_call(message.tool_call)
        case "done":
            if message.done.HasField("usage"):
                yield decode_usage(message.done.usage)
            yield ChatFinish(message.done.finish_reason)


def encode_result(result: ToolResult, call: ToolCall | None = None) -> control_pb2.ToolResult:
    """The protobuf form of what a call gave. `call`: the call, if the result need not repeat its id and name."""
    call_id, name = (result.call_id, result.name) if call is None else (call.id, call.name)
    message = control_pb2.ToolResult(call_id=call_id, name=name, content_json=result.content, is_error=result.is_error)
    if result.seconds is not None:
        set_seconds(message.duration, result.seconds)
    for part in result.parts:
        _encode_part(message.parts.add(), part)
    if result.usage is not None:
        message.usage.CopyFrom(encode_usage(result.usage))
    return message


def decode_result(result: control_pb2.ToolResult) -> ToolResult:
    """What a call gave. Raises ValueError or TypeError if one of its parts is invalid."""
    seconds = seconds_of(result.duration) if result.HasField("duration") else None
    parts = tuple(part for part in map(_decode_part, result.parts) if part is not None)
    usage = decode_usage(result.usage) if result.HasField("usage") else None
    return ToolResult(result.content_json, result.call_id, result.name, result.is_error, seconds, parts, usage)


def _encode_part(message: control_pb2.ToolPart, part: ToolPart) -> None:
    match part:
        case Document():
            encode_document(message.document, part)
        case Image():
            encode_media(message.image, part)
        case Audio():
            encode_media(message.audio, part)
        case Video():
            encode_media(message.video, part)
        case _:
            raise TypeError(f"{type(part).__name__} is not a part of a result; use Document, Image, Audio or Video")


def _decode_part(message: control_pb2.ToolPart) -> ToolPart | None:
    """The part; None if this version does not know its kind."""
    match message.WhichOneof("part"):
        case "document":
            return decode_document(message.document)
        case "image":
            return decode_media(Image, message.image)
        case "audio":
            return decode_media(Audio, message.audio)
        case "video":
            return decode_media(Video, message.video)
    return None


def encode_progress(progress: ToolProgress) -> control_pb2.ToolProgress:
    """The protobuf form of a call's progress."""
    usage = None if progress.usage is None else encode_usage(progress.usage)
    return control_pb2.ToolProgress(
        call_id=progress.call_id, message=progress.message, fraction=progress.fraction, usage=usage
    )


def decode_progress(progress: control_pb2.ToolProgress) -> ToolProgress:
    """The progress of a call in a message."""
    fraction = progress.fraction if progress.HasField("fraction") else None
    usage = decode_usage(progress.usage) if progress.HasField("usage") else None
    return ToolProgress(progress.message, fraction, progress.call_id, usage)


def encode_tool_event(event: ToolEvent, call: ToolCall) -> control_pb2.CallToolResponse:
    """The message of an event of a call, which need not repeat the call's id and name. Raises TypeError if it is no event."""
    match event:
        case ToolProgress():
            return control_pb2.CallToolResponse(progress=encode_progress(replace(event, call_id=call.id)))
        case ToolResult():
            return control_pb2.CallToolResponse(result=encode_result(event, call))
    raise TypeError(f"{type(event).__name__} is not an event of a call")


def decode_tool_event(message: control_pb2.CallToolResponse) -> ToolEvent:
    """The event in a message."""
    if message.HasField("result"):
        return decode_result(message.result)
    return decode_progress(message.progress)


def encode_tool_request(call: ToolCall, timeout: float | None = None) -> control_pb2.CallToolRequest:
    """The request of a call that may take `timeout` seconds; None: as the tool says."""
    request = control_pb2.CallToolRequest(call_id=call.id, name=call.name, arguments_json=call.arguments or "{}")
    if timeout is not None:
        set_seconds(request.timeout, timeout)
    return request


def decode_tool_call(request: control_pb2.CallToolRequest) -> ToolCall:
    """The call that is asked for."""
    return ToolCall(request.call_id, request.name, request.arguments_json)


def encode_tool_update(event: str | ToolCall | ToolEvent, wave: int) -> update_pb2.ToolUpdate:
    """The update by which an agent reports a thought, a call, or an event of a call."""
    match event:
        case str():
            return update_pb2.ToolUpdate(wave=wave, thought=event)
        case ToolCall():
            return update_pb2.ToolUpdate(wave=wave, call=encode_call(event))
        case ToolProgress():
            return update_pb2.ToolUpdate(wave=wave, progress=encode_progress(event))
    return update_pb2.ToolUpdate(wave=wave, result=encode_result(event))


def encode_arguments(arguments: Mapping[str, Any]) -> str:
    """The arguments of a call as JSON text. Raises TypeError or ValueError if they are no JSON."""
    return json.dumps(dict(arguments), ensure_ascii=False, allow_nan=False)


def decode_schema(text: str) -> dict[str, Any] | None:
    """A JSON schema from its text; None if that is empty. Raises ValueError or TypeError if it is not a JSON object."""
    return _object(text) if text else None


def _object(text: str) -> dict[str, Any]:
    value = read_json(text)
    if not isinstance(value, dict):
        raise TypeError(f"expected a JSON object, not {type(value).__name__}")
    return value
