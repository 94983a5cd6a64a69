"""The conversation of an agent with its model: what it holds, and what the model is asked next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lanemesh.v1 import control_pb2, lane_pb2
from lanemesh.values import Question, Usage

from lanemesh_services.llm.messages import to_request


class Conversation:
    """Grows by a turn of the model and the results of its calls per wave."""

    def __init__(self, question: Question, instructions: str = "") -> None:
        """`instructions` come before those of the question."""
        both = "\n\n".join(part for part in (instructions, question.instructions) if part)
        self._request = to_request(replace(question, instructions=both))
        self._known_ids = {call.id for message in self._request.messages for call in message.tool_calls}
        self._prompt_tokens = self._completion_tokens = 0

    def request(self, tools: Sequence[control_pb2.ToolSpec]) -> control_pb2.GenerateRequest:
        """Asks for the next turn. The answer's schema goes only where no tools are offered: most engines can follow a schema
        or call tools, not both at once."""
        made = control_pb2.GenerateRequest(messages=self._request.messages, tools=tools)
        if not tools:
            made.schema_json = self._request.schema_json
        return made

    def identified(self, call: lane_pb2.ToolCall, wave: int) -> lane_pb2.ToolCall:
        """The call with an id that is unique in the conversation: its own if it is, else one made of the wave."""
        made = lane_pb2.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json)
        number = 0
        while not made.id or made.id in self._known_ids:
            number += 1
            made.id = f"wave_{wave}_call_{number}"
        self._known_ids.add(made.id)
        return made

    def add_turn(self, text: str, calls: Iterable[lane_pb2.ToolCall]) -> None:
        """Adds what the model said and called."""
        self._request.messages.add(role="assistant", content=text, tool_calls=calls)

    def add_results(self, results: Iterable[control_pb2.ToolResult]) -> None:
        """Adds what the tools answered."""
        for result in results:
            self._request.messages.add(role="tool", content=result.content_json, tool_call_id=result.call_id)

    def add_request(self, text: str) -> None:
        """Adds a turn of the user's side."""
        self._request.messages.add(role="user", content=text)

    def count(self, usage: lane_pb2.Usage) -> None:
        """Adds what a turn cost."""
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens

    @property
    def usage(self) -> Usage:
        """What all turns cost together."""
        return Usage(prompt_tokens=self._prompt_tokens, completion_tokens=self._completion_tokens)
