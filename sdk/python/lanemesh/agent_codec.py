"""Tasks and events of agents to and from their protobuf form."""

from __future__ import annotations

from lanemesh.agents import AgentEvent, AgentRequest, AgentStep, AgentThought
from lanemesh.chat import ToolProgress, ToolResult
from lanemesh.chat_codec import decode_progress, decode_result, decode_schema, encode_progress, encode_result
from lanemesh.json_text import dump_json
from lanemesh.v1 import control_pb2
from lanemesh.value_codec import (
    decode_answer,
    decode_call,
    decode_message,
    decode_usage,
    encode_answer,
    encode_call,
    encode_message,
    encode_usage,
)
from lanemesh.values import Answer, ToolCall


def encode_agent_request(request: AgentRequest) -> control_pb2.RunAgentRequest:
    """The protobuf form of a task."""
    return control_pb2.RunAgentRequest(
        messages=map(encode_message, request.messages),
        instructions=request.instructions,
        schema_json="" if request.schema is None else dump_json(request.schema),
        max_waves=request.max_waves,
    )


def decode_agent_request(message: control_pb2.RunAgentRequest) -> AgentRequest:
    """The task in a message. Raises ValueError or TypeError if it has no message, or its schema is not a JSON object."""
    return AgentRequest(
        messages=tuple(map(decode_message, message.messages)),
        instructions=message.instructions,
        schema=decode_schema(message.schema_json),
        max_waves=message.max_waves,
    )


class AgentEncoder:
    """Encodes the events of one task. A step without a round belongs to the round of the event before it."""

    def __init__(self) -> None:
        self._wave = 1

    def encode(self, event: AgentEvent | AgentStep) -> control_pb2.RunAgentResponse:
        """The message of an event. Raises TypeError if it is no event."""
        if isinstance(event, AgentEvent):
            self._wave = max(1, event.wave)
        step = event.step if isinstance(event, AgentEvent) else event
        message = control_pb2.RunAgentResponse(wave=self._wave)
        if isinstance(event, AgentEvent) and event.usage is not None:
            message.usage.CopyFrom(encode_usage(event.usage))
        match step:
            case AgentThought():
                message.thought = step.text
            case ToolCall():
                message.tool_call.CopyFrom(encode_call(step))
            case ToolProgress():
                message.tool_progress.CopyFrom(encode_progress(step))
            case ToolResult():
                message.tool_result.CopyFrom(encode_result(step))
            case Answer():
                encode_answer(message.answer, step)
            case _:
                raise TypeError(f"{type(step).__name__} is not a step of an agent")
        return message


def decode_agent_event(message: control_pb2.RunAgentResponse) -> AgentEvent | None:
    """The event in a message; None if it has none, which a newer agent may send."""
    step: AgentStep
    match message.WhichOneof("event"):
        case "thought":
            step = AgentThought(message.thought)
        case "tool_call":
            step = decode_call(message.tool_call)
        case "tool_progress":
            step = decode_progress(message.tool_progress)
        case "tool_result":
            step = decode_result(message.tool_result)
        case "answer":
            step = decode_answer(message.answer)
        case _:
            return None
    usage = decode_usage(message.usage) if message.HasField("usage") else None
    return AgentEvent(step, max(1, message.wave), usage)
