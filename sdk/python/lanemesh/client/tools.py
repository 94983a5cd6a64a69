"""The tools of a mesh, for clients outside any run."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lanemesh.chat import ToolEvent, ToolProgress, ToolResult
from lanemesh.chat_codec import decode_tool_event, encode_arguments, encode_tool_request
from lanemesh.client.specs import wire_text
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.json_values import FrozenDict, freeze_json
from lanemesh.v1 import control_pb2, lane_pb2
from lanemesh.value_codec import decode_spec
from lanemesh.values import ToolCall

DEPLOYMENT_KEY = "lanemesh-deployment"
"""Metadata key of a call: the deployed pipeline whose tools are meant."""
LIST_SECONDS = 120.0
"""Deadline of a list of tools: the components that have them are placed for it."""

OnProgress: TypeAlias = Callable[[ToolProgress], None]
"""Takes a progress report of a call."""


@dataclass(frozen=True, slots=True)
class MeshTool:
    """A tool of a deployed pipeline."""

    name: str
    """The name by which it is called; unique in its list."""
    description: str
    """What it does and when to use it."""
    deployment: str
    """The deployed pipeline that has it."""
    component: str
    """The component that has it."""
    parameters: Mapping[str, Any] = field(default_factory=FrozenDict)
    """The JSON schema of its arguments, which are an object; empty: any."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", freeze_json(self.parameters))


def decode_tools(response: control_pb2.ListToolsResponse) -> list[MeshTool]:
    """The tools of a list. Raises LanemeshError ("bad-tool") if the parameters of one are no JSON schema."""
    return [_decoded(spec) for spec in response.tools]


def _decoded(message: lane_pb2.ToolSpec) -> MeshTool:
    try:
        spec = decode_spec(message)
    except (TypeError, ValueError) as error:
        why = f'the parameters of the tool "{message.name}" are not a JSON schema: {error}'
        raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-tool", message=why)) from None
    return MeshTool(spec.name, spec.description, message.deployment, message.component, spec.parameters)


def tool_request(name: str, arguments: Mapping[str, Any] | str | None, timeout: float | None) -> Any:
    """The request of a call.

    Args:
        name: the tool.
        arguments: its arguments, or a JSON object as text; None: none.
        timeout: most seconds; None: no limit but that of the pipeline.

    Raises:
        LanemeshError: the name is not valid Unicode.
        TypeError: the arguments are no JSON.
        ValueError: the timeout is not greater than 0.
    """
    if timeout is not None and not timeout > 0:
        raise ValueError(f"the timeout of a call must be greater than 0 seconds, not {timeout:g}")
    text = arguments if isinstance(arguments, str) else encode_arguments(arguments or {})
    call_id = f"call_{secrets.token_hex(8)}"
    return encode_tool_request(ToolCall(call_id, wire_text(name, "the name of a tool"), text), timeout)


async def result_of(
    pieces: AsyncGenerator[control_pb2.CallToolResponse, None], name: str, on_progress: OnProgress | None
) -> ToolResult:
    """Reads a call to its end; returns the result. Raises LanemeshError ("no-result") if there is none."""
    result: ToolResult | None = None
    async with aclosing(pieces):
        async for piece in pieces:
            event: ToolEvent = decode_tool_event(piece)
            if isinstance(event, ToolResult):
                result = event
            elif on_progress is not None:
                on_progress(event)
    if result is None:
        message = f'the call of the tool "{name}" ended without a result'
        raise LanemeshError(Fault(code=Code.INTERNAL, reason="no-result", message=message))
    return result
