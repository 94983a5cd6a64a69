"""Models as helpers: the client for a node's model, and the answers of a model's node."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from lanemesh.chat import ChatEvent, ChatFinish, ChatReply, ChatRequest, ChatText, Sampling
from lanemesh.chat_codec import EventEncoder, decode_events, decode_request, encode_request
from lanemesh.control.ends import Answer, HelperEnds, HelperLink
from lanemesh.control.instance import HelperInstance
from lanemesh.control.traced import flat
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import control_pb2
from lanemesh.values import Message, ToolCall, ToolSpec, Usage

MAX_ANSWER_CHARACTERS = 1024 * 1024
"""Most characters of a model's answer that are assembled for its report: 1 Mi."""


class ChatClient:
    """Calls a model. A subclass implements one turn of the conversation."""

    def turn(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """One turn of the model, event by event as it is generated. Leaving the iteration cancels it at the model.

        Raises:
            LanemeshError: with the helper's own fault, or with that of the connection.
        """
        raise NotImplementedError

    def stream(
        self,
        messages: str | Iterable[Message],
        *,
        tools: Iterable[ToolSpec] = (),
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        """One turn of the model, event by event as it is generated. Arguments and errors are those of `LlmClient.stream`."""
        turns = (Message("user", messages),) if isinstance(messages, str) else tuple(messages)
        return self.turn(ChatRequest(turns, tuple(tools), schema, sampling or Sampling()))

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


class LinkedLlm(ChatClient):
    """A model at the other end of a link."""

    def __init__(self, link: HelperLink) -> None:
        self._link = link

    async def turn(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """One turn of the model, as it is generated."""
        async with aclosing(self._link.stream("Generate", encode_request(request))) as pieces:
            async for piece in pieces:
                for event in decode_events(piece):
                    yield event

    async def reach(self) -> None:
        """Checks that the model can be called."""
        await self._link.reach()


def _generate(
    helper: HelperInstance, request: control_pb2.GenerateRequest
) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
    """One turn of the model, as it is generated. Its tokens are added to the helper's activity."""
    encoder = EventEncoder()

    def encode(event: Any) -> control_pb2.GenerateResponse | None:
        try:
            piece = encoder.encode(event)
        except TypeError:
            raise TypeError("ChatText, ToolCall, Usage or ChatFinish") from None
        if piece is not None and piece.HasField("done") and piece.done.HasField("usage"):
            usage = piece.done.usage
            helper.count_tokens(usage.prompt_tokens, usage.completion_tokens, usage.cost)
        return piece

    return helper.stream("llm", "chat", lambda: (helper.context, _decoded(helper, request)), encode)


def _decoded(helper: HelperInstance, request: control_pb2.GenerateRequest) -> ChatRequest:
    try:
        return decode_request(request)
    except (TypeError, ValueError) as error:
        message = f"{helper.context.component} ({helper.context.provider}) received an invalid request: {error}."
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-request", message=message)) from None


class _TurnTrace:
    """A model's answer, assembled from its pieces; text beyond 1 Mi characters is left out."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._characters = 0
        self._calls: list[Any] = []
        self._end: dict[str, Any] = {}

    def add(self, piece: control_pb2.GenerateResponse) -> dict[str, Any] | None:
        """Adds a piece. The end event completes the answer, because the caller may not read further."""
        match piece.WhichOneof("event"):
            case "text":
                text = piece.text[: MAX_ANSWER_CHARACTERS - self._characters]
                self._texts.append(text)
                self._characters += len(text)
            case "tool_call":
                self._calls.append(flat(piece.tool_call))
            case "done":
                self._end = {"finish_reason": piece.done.finish_reason}
                if piece.done.HasField("usage"):
                    usage = piece.done.usage
                    tokens = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
                    self._end["usage"] = {**tokens, "cost": usage.cost} if usage.HasField("cost") else tokens
                return self.rest()
        return None

    def rest(self) -> dict[str, Any]:
        """The answer so far."""
        calls = {"tool_calls": self._calls} if self._calls else {}
        return {"text": "".join(self._texts), **calls, **self._end}


ENDS = HelperEnds(answers={"Generate": Answer(_generate, _TurnTrace)}, client=LinkedLlm)
