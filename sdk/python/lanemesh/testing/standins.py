"""Stand-ins for what is wired to a node in a pipeline: a model that says what it is told to, tools that are functions."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any

from lanemesh.control.connection import Connection
from lanemesh.control.llm import ChatClient
from lanemesh.v1 import control_pb2, lane_pb2
from lanemesh.values import ToolCall

Turn = str | ToolCall | Iterable[str | ToolCall]
"""One turn of a model: a text, a call, or pieces of both in order."""


class ScriptedModel(ChatClient):
    """A model for tests. Each request gets the next of its turns; it fails the test if there are none left."""

    def __init__(self, *turns: Turn) -> None:
        """`turns`: what it answers, one per request."""
        self.requests: list[control_pb2.GenerateRequest] = []
        """What it was asked, in order."""
        self._turns = turns

    async def generate(
        self, request: control_pb2.GenerateRequest
    ) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
        """The next turn, piece by piece.

        Raises:
            AssertionError: the model was asked more often than it has turns.
        """
        self.requests.append(request)
        if len(self.requests) > len(self._turns):
            raise AssertionError(f"the model was asked {len(self.requests)} times and has {len(self._turns)} turns")
        turn = self._turns[len(self.requests) - 1]
        pieces = [turn] if isinstance(turn, str | ToolCall) else list(turn)
        for piece in pieces:
            if isinstance(piece, str):
                yield control_pb2.GenerateResponse(text=piece)
            else:
                call = lane_pb2.ToolCall(id=piece.id, name=piece.name, arguments_json=piece.arguments)
                yield control_pb2.GenerateResponse(tool_call=call)
        reason = "tool_calls" if any(isinstance(piece, ToolCall) for piece in pieces) else "stop"
        usage = lane_pb2.Usage(prompt_tokens=len(request.messages), completion_tokens=len(pieces))
        yield control_pb2.GenerateResponse(done=control_pb2.GenerateDone(finish_reason=reason, usage=usage))


class FunctionTools:
    """Tools for tests: plain or `async` functions by name, called with the arguments of a call as keywords.

    What a function returns is its result, as JSON; what it raises fails the call, as a failing helper would.
    """

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Name and arguments of each call, in order."""
        self.connection = Connection(class_type="tool", helper="tools under test")
        """Named in errors."""
        self._functions = dict(functions)

    async def list(self) -> list[control_pb2.ToolSpec]:
        """The functions, each with its docstring and the names of its parameters."""
        return [_spec(name, function) for name, function in self._functions.items()]

    async def call(self, request: control_pb2.CallToolRequest) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
        """Calls a function."""
        arguments = json.loads(request.arguments_json or "{}")
        self.calls.append((request.name, arguments))
        value = self._functions[request.name](**arguments)
        if inspect.isawaitable(value):
            value = await value
        result = control_pb2.ToolResult(call_id=request.call_id, name=request.name, content_json=json.dumps(value))
        yield control_pb2.CallToolResponse(result=result)

    async def reach(self) -> None:
        """They are here."""


def _spec(name: str, function: Callable[..., Any]) -> control_pb2.ToolSpec:
    parameters = inspect.signature(function).parameters
    required = [key for key, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    schema = {"type": "object", "properties": {key: {} for key in parameters}, "required": required}
    return control_pb2.ToolSpec(
        name=name, description=inspect.getdoc(function) or "", parameters_json=json.dumps(schema)
    )
