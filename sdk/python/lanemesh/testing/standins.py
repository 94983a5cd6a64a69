"""Replacements for the helpers of a node in a pipeline: a model and an agent with given answers, tools that are functions."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any

from lanemesh.agents import AgentEvent, AgentRequest, AgentStep
from lanemesh.chat import ChatEvent, ChatFinish, ChatRequest, ChatText, ToolEvent, ToolResult
from lanemesh.control.agent import AgentCaller
from lanemesh.control.connection import Connection
from lanemesh.control.llm import ChatClient
from lanemesh.values import Answer, ToolCall, ToolSpec, Usage

Turn = str | ToolCall | Iterable[str | ToolCall]
"""One turn of a model: a text, a call, or pieces of both in order."""


class ScriptedModel(ChatClient):
    """A model for tests. Each request gets the next of its turns; it fails the test if there are none left."""

    def __init__(self, *turns: Turn) -> None:
        """`turns`: its answers, one per request."""
        self.requests: list[ChatRequest] = []
        """Its requests, in order."""
        self._turns = turns

    async def turn(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """The next turn, piece by piece.

        Raises:
            AssertionError: the model was called more often than it has turns.
        """
        self.requests.append(request)
        if len(self.requests) > len(self._turns):
            raise AssertionError(f"the model was called {len(self.requests)} times, but has {len(self._turns)} turns")
        turn = self._turns[len(self.requests) - 1]
        pieces = [turn] if isinstance(turn, str | ToolCall) else list(turn)
        for piece in pieces:
            yield ChatText(piece) if isinstance(piece, str) else piece
        yield Usage(len(request.messages), len(pieces))
        yield ChatFinish("tool_calls" if any(isinstance(piece, ToolCall) for piece in pieces) else "stop")


class ScriptedAgent(AgentCaller):
    """An agent for tests. Each task gets the next of its replies; it fails the test if there are none left."""

    def __init__(self, *replies: str | Sequence[AgentStep]) -> None:
        """`replies`: one per task: the text of the answer, or the steps, of which the last is an `Answer` with a finish reason."""
        self.requests: list[AgentRequest] = []
        """Its tasks, in order."""
        self._replies = replies

    async def events(self, request: AgentRequest, timeout: float | None = None) -> AsyncGenerator[AgentEvent, None]:
        """The next reply, step by step. It has no time limit.

        Raises:
            AssertionError: the agent was called more often than it has replies.
        """
        self.requests.append(request)
        if len(self.requests) > len(self._replies):
            raise AssertionError(
                f"the agent was called {len(self.requests)} times, but has {len(self._replies)} replies"
            )
        reply = self._replies[len(self.requests) - 1]
        for step in [Answer(reply, finish_reason="stop")] if isinstance(reply, str) else reply:
            yield AgentEvent(step)


class FunctionTools:
    """Tools for tests: plain or `async` functions by name, called with the arguments of a call as keywords.

    The return value of a function is its result, as JSON; an exception fails the call, as a failing helper would.
    """

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Name and arguments of each call, in order."""
        self.connection = Connection(class_type="tool", helper="tools under test")
        """Named in errors."""
        self.fixed = True
        """The functions stay the same."""
        self._functions = dict(functions)

    async def list(self) -> list[ToolSpec]:
        """The functions, each with its docstring and the names of its parameters."""
        return [_spec(name, function) for name, function in self._functions.items()]

    async def call(self, call: ToolCall, timeout: float | None = None) -> AsyncGenerator[ToolEvent, None]:
        """Calls a function. It has no time limit."""
        arguments = json.loads(call.arguments or "{}")
        self.calls.append((call.name, arguments))
        value = self._functions[call.name](**arguments)
        if inspect.isawaitable(value):
            value = await value
        yield ToolResult(json.dumps(value), call.id, call.name)

    async def reach(self) -> None:
        """They are here."""


def _spec(name: str, function: Callable[..., Any]) -> ToolSpec:
    parameters = inspect.signature(function).parameters
    required = [key for key, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    schema = {"type": "object", "properties": {key: {} for key in parameters}, "required": required}
    return ToolSpec(name, inspect.getdoc(function) or "", schema)
