"""One turn of the model, by its own tool calls or by JSON: the same pieces come out of both."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from lanemesh import (
    ChatEvent,
    ChatFinish,
    ChatRequest,
    ChatText,
    Context,
    LanemeshError,
    Message,
    ToolSpec,
    Usage,
)

from lanemesh_services.agent.config import AgentConfig
from lanemesh_services.agent.conversation import Conversation
from lanemesh_services.agent.json_calls import AnswerReader, explanation, read_turn, turn_schema


@dataclass(frozen=True, slots=True)
class Thought:
    """A thought that the model marks as one."""

    text: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A turn by JSON that cannot be read."""

    problem: str
    text: str


@dataclass(frozen=True, slots=True)
class WholeText:
    """The whole text of a turn by JSON, as the model wrote it, for the conversation."""

    text: str


TurnEvent = ChatEvent | Thought | Unreadable | WholeText


class ModelTurns:
    """Asks the model of an agent for turns, and remembers how it calls tools."""

    def __init__(self, config: AgentConfig, context: Context) -> None:
        self.by_json = config.tool_calling == "json"
        """It calls tools by JSON."""
        self._config = config
        self._context = context
        self._detail = 2
        """How exact the schemas of turns by JSON are: 2 with the arguments, 1 without, 0 none. Lowered if the model rejects one."""

    async def stream(self, conversation: Conversation, tools: Sequence[ToolSpec]) -> AsyncGenerator[TurnEvent, None]:
        """The events of the next turn. Raises LanemeshError with the fault of the model."""
        while True:
            source = self._json(conversation, tools) if self.by_json and tools else self._native(conversation, tools)
            begun = False
            try:
                async with aclosing(source) as events:
                    async for event in events:
                        begun = True
                        yield event
                return
            except LanemeshError as error:
                if begun or not self._adapts(error, tools):
                    raise

    async def _native(self, conversation: Conversation, tools: Sequence[ToolSpec]) -> AsyncGenerator[TurnEvent, None]:
        request = conversation.request(tools)
        async with aclosing(self._events(request)) as events:
            async for event in events:
                yield event

    async def _json(self, conversation: Conversation, tools: Sequence[ToolSpec]) -> AsyncGenerator[TurnEvent, None]:
        plain = conversation.request((), extra=explanation(tools))
        schema = turn_schema(tools, self._config.max_calls, whole=self._detail > 1) if self._detail else None
        request = ChatRequest(_without_tools(plain), schema=schema)
        reader, texts, finish = AnswerReader(), [], ChatFinish()
        async with aclosing(self._events(request)) as events:
            async for event in events:
                if isinstance(event, ChatText):
                    texts.append(event.text)
                    if new := reader.push(event.text):
                        yield ChatText(new)
                elif isinstance(event, ChatFinish):
                    finish = event
                elif isinstance(event, Usage):
                    yield event
        text = "".join(texts)
        turn = read_turn(text)
        if turn.problem and not reader.sent:
            yield Unreadable(turn.problem, text)
        yield WholeText(text)
        if turn.calls and turn.thought:
            yield Thought(turn.thought)
        for call in turn.calls:
            yield call
        if not turn.calls and len(turn.answer) > len(reader.sent):
            yield ChatText(turn.answer[len(reader.sent) :])
        yield finish

    def _events(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        return self._context.llm.stream(request.messages, tools=request.tools, schema=request.schema)

    def _adapts(self, error: LanemeshError, tools: Sequence[ToolSpec]) -> bool:
        """Whether the turn can be asked for in another way, after the model has rejected the request."""
        if not tools or error.fault.details.get("problem"):  # a schema that was accepted, and not followed
            return False
        field = error.fault.details.get("field", "")
        if not self.by_json:
            if self._config.tool_calling != "auto" or field != "tools":
                return False
            self._context.log.info("the model rejects tools, so it calls them by JSON: %s", error.fault.message)
            self.by_json = True
            return True
        if field != "json_schema" or not self._detail:
            return False
        self._detail -= 1
        return True


def _without_tools(request: ChatRequest) -> tuple[Message, ...]:
    """The messages of a request without tool calls and tool messages, which such a model does not know."""
    return tuple(
        Message("user", f"Result of {message.tool_call_id}:\n{message.content}")
        if message.role == "tool"
        else Message("assistant", message.content)
        if message.tool_calls
        else message
        for message in request.messages
    )
