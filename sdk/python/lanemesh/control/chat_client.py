"""What a node asks a model and its tools with: values in, values out."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from lanemesh.chat import ChatEvent, ChatFinish, ChatReply, ChatRequest, ChatText, Sampling, ToolSpec
from lanemesh.chat_codec import decode_events, decode_result, encode_arguments, encode_request
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import control_pb2
from lanemesh.values import Message, ToolCall, Usage

if TYPE_CHECKING:
    from lanemesh.control.tools import ToolClient


class ChatClient:
    """Asks a model. A subclass says how one turn is generated, over the protocol's own messages."""

    def generate(self, request: control_pb2.GenerateRequest) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
        """One turn of the conversation, in messages of the protocol."""
        raise NotImplementedError

    async def stream(
        self,
        messages: str | Iterable[Message],
        *,
        tools: Iterable[ToolSpec] = (),
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        """One turn of the model, event by event as it is written. Leaving the iteration cancels it at the model.

        Args:
            messages: the conversation so far, oldest first; a text is one turn of the user.
            tools: what the model may ask to be called.
            schema: the JSON schema that the answer shall follow.
            sampling: how to choose tokens; None: as the model's config says.

        Raises:
            LanemeshError: with the model's own fault, or with that of the connection.
        """
        turns = (Message("user", messages),) if isinstance(messages, str) else tuple(messages)
        request = ChatRequest(turns, tuple(tools), schema, sampling or Sampling())
        async with aclosing(self.generate(encode_request(request))) as pieces:
            async for piece in pieces:
                for event in decode_events(piece):
                    yield event

    async def chat(
        self,
        messages: str | Iterable[Message],
        *,
        tools: Iterable[ToolSpec] = (),
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling | None = None,
    ) -> ChatReply:
        """One whole turn of the model. Arguments and errors are those of `stream`."""
        text: list[str] = []
        calls: list[ToolCall] = []
        usage, reason = None, "stop"
        async with aclosing(self.stream(messages, tools=tools, schema=schema, sampling=sampling)) as events:
            async for event in events:
                match event:
                    case ChatText():
                        text.append(event.text)
                    case ToolCall():
                        calls.append(event)
                    case Usage():
                        usage = event
                    case ChatFinish():
                        reason = event.reason
        return ChatReply("".join(text), tuple(calls), reason, usage)


class NamedTool:
    """A tool by its name: `await context.tools["weather"](city="Oslo")`."""

    def __init__(self, client: ToolClient, name: str) -> None:
        self._client = client
        self._name = name

    async def __call__(self, **arguments: Any) -> Any:
        """Calls the tool and returns its result, a JSON value.

        Raises:
            LanemeshError: with the tool's own fault, or with that of the connection; "unknown-tool", "tool-failed" if the
                tool answered with an error.
            TypeError: the arguments are no JSON.
            ValueError: the result is not JSON that can be held.
        """
        request = control_pb2.CallToolRequest(
            call_id=f"call_{secrets.token_hex(8)}", name=self._name, arguments_json=encode_arguments(arguments)
        )
        async with aclosing(self._client.call(request)) as pieces:
            async for piece in pieces:
                if piece.HasField("result"):
                    result = decode_result(piece.result)
                    if result.is_error:
                        raise _failed(self._name, result.content)
                    return result.value
        raise _failed(self._name, "it ended without a result")


def _failed(name: str, why: str) -> LanemeshError:
    return LanemeshError(
        Fault(
            code=Code.INTERNAL,
            reason="tool-failed",
            message=f'the tool "{name}" failed: {why:.1000}',
            details={"tool": name},
        )
    )
