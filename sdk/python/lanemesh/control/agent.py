"""Agents as helpers: the client for an agent that a node calls, and the answers of a node that offers agent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from lanemesh.agent_codec import AgentEncoder, decode_agent_event, decode_agent_request, encode_agent_request
from lanemesh.agents import AgentEvent, AgentReply, AgentRequest
from lanemesh.control.ends import Answer as HelperAnswer
from lanemesh.control.ends import HelperEnds, HelperLink
from lanemesh.control.instance import HelperInstance
from lanemesh.control.traced import flat
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import control_pb2
from lanemesh.values import Answer, Message

MAX_ANSWER_CHARACTERS = 1024 * 1024
"""Most characters of an agent's answer that are assembled for its report: 1 Mi."""


class AgentCaller:
    """Calls an agent. A subclass implements one task."""

    component = ""
    """Its component; empty if it is not known."""

    def events(self, request: AgentRequest, timeout: float | None = None) -> AsyncGenerator[AgentEvent, None]:
        """The events of one task, as they happen. Leaving the iteration cancels the agent.

        Raises:
            LanemeshError: with the agent's own fault, or with that of the connection.
        """
        raise NotImplementedError

    def stream(
        self,
        task: str | Iterable[Message],
        *,
        instructions: str = "",
        schema: Mapping[str, Any] | None = None,
        max_waves: int = 0,
        timeout: float | None = None,
    ) -> AsyncGenerator[AgentEvent, None]:
        """The events of one task, as they happen. Arguments and errors are those of `AgentClient.stream`."""
        messages = (Message("user", task),) if isinstance(task, str) else tuple(task)
        return self.events(AgentRequest(messages, instructions, schema, max_waves), timeout)

    async def run(
        self,
        task: str | Iterable[Message],
        *,
        instructions: str = "",
        schema: Mapping[str, Any] | None = None,
        max_waves: int = 0,
        timeout: float | None = None,
    ) -> AgentReply:
        """The whole answer to one task. Arguments and errors are those of `stream`."""
        texts: list[str] = []
        last, data, wave = Answer(), None, 1
        events = self.stream(task, instructions=instructions, schema=schema, max_waves=max_waves, timeout=timeout)
        async with aclosing(events):
            async for event in events:
                wave = event.wave
                if isinstance(event.step, Answer):
                    last = event.step
                    texts.append(last.text)
                    data = last.data if last.data is not None else data
        return AgentReply("".join(texts), data, last.finish_reason or "stop", last.usage, wave)


class LinkedAgent(AgentCaller):
    """An agent at the other end of a link."""

    def __init__(self, link: HelperLink) -> None:
        self._link = link
        self.component = link.connection.helper

    async def events(self, request: AgentRequest, timeout: float | None = None) -> AsyncGenerator[AgentEvent, None]:
        """The events of one task. Raises LanemeshError ("no-result") if they end without an answer that is complete."""
        pieces = self._link.stream("RunAgent", encode_agent_request(request), timeout)
        async with aclosing(pieces):
            async for piece in pieces:
                event = self._event(piece)
                if event is None:
                    continue
                yield event
                if _ends(piece):
                    return
        what = "it ended without an answer that has a finish reason"
        raise LanemeshError(self._link.connection.fault(Code.INTERNAL, "no-result", what))

    async def reach(self) -> None:
        """Checks that the agent can be called."""
        await self._link.reach()

    def _event(self, piece: control_pb2.RunAgentResponse) -> AgentEvent | None:
        try:
            return decode_agent_event(piece)
        except (TypeError, ValueError) as error:
            what = f"it sent an invalid event: {error}"
            raise LanemeshError(self._link.connection.fault(Code.INTERNAL, "bad-result", what)) from None


def _ends(piece: control_pb2.RunAgentResponse) -> bool:
    return piece.HasField("answer") and bool(piece.answer.finish_reason)


async def _run_agent(
    helper: HelperInstance, request: control_pb2.RunAgentRequest
) -> AsyncGenerator[control_pb2.RunAgentResponse, None]:
    """The events of one task, up to the end of its answer. Its tokens are added to the helper's activity."""
    encoder = AgentEncoder()

    def encode(event: Any) -> control_pb2.RunAgentResponse:
        try:
            return encoder.encode(event)
        except TypeError:
            raise TypeError(
                "AgentThought, ToolCall, ToolProgress, ToolResult or Answer, or AgentEvent with one of them"
            ) from None

    pieces = helper.stream("agent", "run_agent", lambda: (helper.context, _decoded(helper, request)), encode)
    async with aclosing(pieces):
        async for piece in pieces:
            if _ends(piece) and piece.answer.HasField("usage"):
                usage = piece.answer.usage
                helper.count_tokens(usage.prompt_tokens, usage.completion_tokens, usage.cost)
            yield piece
            if _ends(piece):
                return


def _decoded(helper: HelperInstance, request: control_pb2.RunAgentRequest) -> AgentRequest:
    try:
        return decode_agent_request(request)
    except (TypeError, ValueError) as error:
        message = f"{helper.context.component} ({helper.context.provider}) received an invalid request: {error}."
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-request", message=message)) from None


class _ReplyTrace:
    """An agent's answer, assembled from its pieces; text beyond 1 Mi characters is left out."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._characters = 0
        self._last: dict[str, Any] = {}

    def add(self, piece: control_pb2.RunAgentResponse) -> dict[str, Any] | None:
        """Adds a piece. The finish reason completes the answer, because the caller may not read further."""
        if not piece.HasField("answer"):
            return None
        text = piece.answer.text[: MAX_ANSWER_CHARACTERS - self._characters]
        self._texts.append(text)
        self._characters += len(text)
        if not _ends(piece):
            return None
        self._last = {**flat(piece.answer), "waves": piece.wave}
        return self.rest()

    def rest(self) -> dict[str, Any]:
        """The answer so far."""
        return {**self._last, "text": "".join(self._texts)}


ENDS = HelperEnds(answers={"RunAgent": HelperAnswer(_run_agent, _ReplyTrace)}, client=LinkedAgent)
