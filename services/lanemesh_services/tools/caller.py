"""Calls tools for a client: the invoker of tools that are called outside any other pipeline."""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import replace
from typing import Any, ClassVar

from lanemesh import Context, Inputs, Invokes, Json, Node, Out, Outputs, ToolCall, ToolResult
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class _Request(BaseModel):
    """An input: a call, or without a name a request for the list of tools."""

    model_config = ConfigDict(extra="forbid")

    name: str = ""
    arguments: str = ""
    call_id: str = ""
    timeout: float | None = Field(None, gt=0)


class ToolCaller(Node):
    """Calls the connected tools for a client.

    Each input is a call: `{"name": "search", "arguments": "{...}"}`, with the arguments as JSON text, and optionally a `call_id`
    and a `timeout` in seconds. Calls, progress and results are updates of the run. An input without a name lists the tools of each
    helper on `data`.
    """

    boundary = "source"
    invokes: ClassVar = (Invokes("tool", 1, None),)

    data: Out[Json]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Serves the inputs one after the other. A call that cannot be made fails the run."""
        async for given in context.client.inputs(context.component):
            if not given.has_value:
                continue
            request = _read(given.item.value)
            if request.name:
                await _call(context, request)
            else:
                await outputs.emit("data", await _list(context))


def _read(value: Any) -> _Request:
    try:
        return _Request.model_validate(value)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError(
            f"the input is no call of a tool: {faults}. Send an object with name and arguments, a JSON text"
        ) from None


async def _list(context: Context) -> list[dict[str, Any]]:
    """The tools of each helper, with the name of its connection."""
    found = []
    for helper, tools in zip(context.toolsets.names, context.toolsets, strict=True):
        for spec in await tools.specs():
            tool = {"helper": helper, "name": spec.name, "description": spec.description}
            found.append(tool | {"parameters": spec.parameters})
    return found


async def _call(context: Context, request: _Request) -> None:
    call = ToolCall(request.call_id or "call", request.name, request.arguments)
    await context.report_tool(call)
    began = time.monotonic()
    async with aclosing(context.tools.stream(call, request.timeout)) as events:
        async for event in events:
            if isinstance(event, ToolResult):
                seconds = time.monotonic() - began if event.seconds is None else event.seconds
                event = replace(event, name=call.name, seconds=seconds)
            await context.report_tool(replace(event, call_id=call.id))
