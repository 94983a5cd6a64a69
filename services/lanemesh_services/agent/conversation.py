"""The conversation of an agent with its model, and the next request to the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lanemesh import ChatRequest, Image, Message, Question, ToolCall, ToolResult, ToolSpec

from lanemesh_services.agent.result_store import ResultStore
from lanemesh_services.llm.messages import to_request

CHARACTERS_PER_TOKEN = 3.5
"""Estimate for a model that has not reported its usage."""
FILL = 0.8
"""Part of the context that requests may fill; the answer takes the rest."""
KEYED_CHARACTERS = 200
"""Longest result that the model gets without its key."""


@dataclass(slots=True)
class _Shown:
    """A result in the conversation."""

    place: int
    """Its message."""
    key: str
    shortened: bool = False


class Conversation:
    """Grows by a turn of the model and the results of its calls per wave."""

    def __init__(
        self,
        question: Question,
        instructions: str = "",
        *,
        store: ResultStore | None = None,
        max_result: int = 20_000,
        result_images: bool = False,
        context_tokens: int = 0,
    ) -> None:
        """Creates the conversation of a question.

        Args:
            question: what is asked.
            instructions: precede those of the question.
            store: keeps whole results.
            max_result: longest result in the conversation, in characters; of a longer one it has a summary.
            result_images: images of results go to the model, until their result becomes a summary.
            context_tokens: what the model's context holds; 0: not known.
        """
        both = "\n\n".join(part for part in (instructions, question.instructions) if part)
        self.schema = question.schema
        """The schema that the answer must follow; None: any text."""
        self.has_summaries = False
        """It has a summary of a result, so that the model may want to read more of it."""
        self._messages = list(to_request(replace(question, instructions=both)).messages)
        self._known_ids = {call.id for message in self._messages for call in message.tool_calls}
        self._store = store or ResultStore()
        self._max_result = max_result
        self._result_images = result_images
        self._context_tokens = context_tokens
        self._shown: list[_Shown] = []
        self._tokens_per_character = 1 / CHARACTERS_PER_TOKEN
        self._requested_characters = 0

    def request(self, tools: Sequence[ToolSpec], *, extra: str = "") -> ChatRequest:
        """Returns the request for the next turn. It has the answer's schema only without tools: most engines support a schema or
        tools, but not both at once. `extra` is added to the system message."""
        self._fit(len(extra) + sum(len(spec.description) + len(str(spec.parameters)) for spec in tools))
        messages = self._messages if not extra else _with_system(self._messages, extra)
        return ChatRequest(tuple(messages), tuple(tools), None if tools else self.schema)

    def identified(self, call: ToolCall, wave: int) -> ToolCall:
        """The call with an id that is unique in the conversation: its own id if that is unique, otherwise one made from the
        wave."""
        made, number = call.id, 0
        while not made or made in self._known_ids:
            number += 1
            made = f"wave_{wave}_call_{number}"
        self._known_ids.add(made)
        return replace(call, id=made)

    def add_turn(self, text: str, calls: Iterable[ToolCall]) -> None:
        """Adds the text and calls of the model."""
        self._messages.append(Message("assistant", text, tuple(calls)))

    def add_result(self, result: ToolResult, key: str) -> None:
        """Adds the result of a call. An empty key: it is not stored."""
        self._show(key, self._message("tool", self._written(result, key), result, tool_call_id=result.call_id))

    def add_late_result(self, result: ToolResult, key: str) -> None:
        """Adds the result of a call that the model did not wait for."""
        text = f"The result of the call {result.call_id} of {result.name}:\n{self._written(result, key)}"
        self._show(key, self._message("user", text, result))

    def add_request(self, text: str) -> None:
        """Adds a turn of the user's side."""
        self._messages.append(Message("user", text))

    def measure(self, prompt_tokens: int) -> None:
        """Learns from the usage of a turn how many tokens its request had."""
        if prompt_tokens and self._requested_characters:
            self._tokens_per_character = prompt_tokens / self._requested_characters

    def _show(self, key: str, message: Message) -> None:
        if key:
            self._shown.append(_Shown(len(self._messages), key))
        self._messages.append(message)

    def _message(self, role: str, text: str, result: ToolResult, tool_call_id: str = "") -> Message:
        images = tuple(part for part in result.parts if isinstance(part, Image)) if self._result_images else ()
        return Message(role, text, tool_call_id=tool_call_id, images=images)

    def _written(self, result: ToolResult, key: str) -> str:
        if not key:
            return result.content
        if len(result.content) > self._max_result:
            self.has_summaries = True
            return self._store.summary(key, self._max_result)
        if result.is_error or len(result.content) <= KEYED_CHARACTERS:
            return result.content
        return self._store.keyed(key)

    def _fit(self, further: int) -> None:
        """Replaces the oldest results by summaries until the request fits into the context of the model. The results of the latest
        wave stay."""
        characters = further + sum(len(message.content) for message in self._messages)
        if self._context_tokens:
            most = self._context_tokens * FILL / self._tokens_per_character
            last_turn = max((at for at, one in enumerate(self._messages) if one.role == "assistant"), default=0)
            for shown in self._shown:
                if characters <= most or shown.place > last_turn:
                    break
                characters -= self._shorten(shown)
        self._requested_characters = characters

    def _shorten(self, shown: _Shown) -> int:
        """Replaces a result by its summary. Returns the number of saved characters."""
        before = self._messages[shown.place]
        if shown.shortened:
            return 0
        shown.shortened = True
        try:
            summary = self._store.summary(shown.key, 200)
        except ValueError:  # the store has dropped it
            summary = before.content[:200]
        if len(summary) >= len(before.content):
            return 0
        self.has_summaries = True
        self._messages[shown.place] = replace(before, content=summary, images=())
        return len(before.content) - len(summary)


def _with_system(messages: Sequence[Message], extra: str) -> list[Message]:
    if messages and messages[0].role == "system":
        return [replace(messages[0], content=f"{messages[0].content}\n\n{extra}"), *messages[1:]]
    return [Message("system", extra), *messages]
