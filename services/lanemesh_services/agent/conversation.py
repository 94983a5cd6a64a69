"""The conversation of an agent with its model: what it holds, and what the model is asked next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lanemesh import ChatRequest, Message, Question, ToolCall, ToolResult, ToolSpec, Usage

from lanemesh_services.llm.messages import to_request


class Conversation:
    """Grows by a turn of the model and the results of its calls per wave."""

    def __init__(self, question: Question, instructions: str = "") -> None:
        """`instructions` come before those of the question."""
        both = "\n\n".join(part for part in (instructions, question.instructions) if part)
        self.schema = question.schema
        """The schema that the answer shall follow; None if any text will do."""
        self._messages = list(to_request(replace(question, instructions=both)).messages)
        self._known_ids = {call.id for message in self._messages for call in message.tool_calls}
        self._prompt_tokens = self._completion_tokens = 0

    def request(self, tools: Sequence[ToolSpec]) -> ChatRequest:
        """Asks for the next turn. The answer's schema goes only where no tools are offered: most engines can follow a schema
        or call tools, not both at once."""
        return ChatRequest(tuple(self._messages), tuple(tools), None if tools else self.schema)

    def identified(self, call: ToolCall, wave: int) -> ToolCall:
        """The call with an id that is unique in the conversation: its own if it is, else one made of the wave."""
        made, number = call.id, 0
        while not made or made in self._known_ids:
            number += 1
            made = f"wave_{wave}_call_{number}"
        self._known_ids.add(made)
        return replace(call, id=made)

    def add_turn(self, text: str, calls: Iterable[ToolCall]) -> None:
        """Adds what the model said and called."""
        self._messages.append(Message("assistant", text, tuple(calls)))

    def add_results(self, results: Iterable[ToolResult]) -> None:
        """Adds what the tools answered."""
        self._messages += [Message("tool", result.content, tool_call_id=result.call_id) for result in results]

    def add_request(self, text: str) -> None:
        """Adds a turn of the user's side."""
        self._messages.append(Message("user", text))

    def count(self, usage: Usage) -> None:
        """Adds what a turn cost."""
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens

    @property
    def usage(self) -> Usage:
        """What all turns cost together."""
        return Usage(prompt_tokens=self._prompt_tokens, completion_tokens=self._completion_tokens)
