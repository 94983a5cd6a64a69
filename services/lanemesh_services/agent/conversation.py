"""The conversation of an agent with its model, and the next request to the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lanemesh import ChatRequest, Message, Question, ToolCall, ToolResult, ToolSpec, Usage

from lanemesh_services.llm.messages import to_request


class Conversation:
    """Grows by a turn of the model and the results of its calls per wave."""

    def __init__(self, question: Question, instructions: str = "") -> None:
        """`instructions` precede those of the question."""
        both = "\n\n".join(part for part in (instructions, question.instructions) if part)
        self.schema = question.schema
        """The schema that the answer must follow; None: any text."""
        self._messages = list(to_request(replace(question, instructions=both)).messages)
        self._known_ids = {call.id for message in self._messages for call in message.tool_calls}
        self._prompt_tokens = self._completion_tokens = 0

    def request(self, tools: Sequence[ToolSpec]) -> ChatRequest:
        """Returns the request for the next turn. It has the answer's schema only without tools: most engines support a schema or
        tools, but not both at once."""
        return ChatRequest(tuple(self._messages), tuple(tools), None if tools else self.schema)

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

    def add_results(self, results: Iterable[ToolResult]) -> None:
        """Adds the results of the tools."""
        self._messages += [Message("tool", result.content, tool_call_id=result.call_id) for result in results]

    def add_request(self, text: str) -> None:
        """Adds a turn of the user's side."""
        self._messages.append(Message("user", text))

    def count(self, usage: Usage) -> None:
        """Adds the usage of a turn."""
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens

    @property
    def usage(self) -> Usage:
        """The usage of all turns."""
        return Usage(prompt_tokens=self._prompt_tokens, completion_tokens=self._completion_tokens)
