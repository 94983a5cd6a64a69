"""The calls of one wave: in parallel, each with its timeout, each failure a result that the model sees."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from lanemesh.control.tools import ToolClient
from lanemesh.faults import LanemeshError
from lanemesh.v1 import control_pb2, update_pb2
from lanemesh.values import ToolCall

Report = Callable[[update_pb2.ToolUpdate], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the calls of a wave may cost."""

    timeout: float
    """Seconds that a call may take."""
    calls: int
    """Most calls of one wave; the model is told of the others that they were not made."""
    characters: int
    """Longest result that the model is given; longer ones are cut."""


async def call_all(
    tools: ToolClient, calls: Sequence[ToolCall], limits: Limits, report: Report
) -> list[control_pb2.ToolResult]:
    """Makes the calls at the same time and reports what happens as it does. Returns their results in the order of the calls."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_call(tools, call, limits, report, made=place < limits.calls))
                for place, call in enumerate(calls)
            ]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _call(
    tools: ToolClient, call: ToolCall, limits: Limits, report: Report, *, made: bool
) -> control_pb2.ToolResult:
    begun = time.monotonic()
    if made:
        result = await _result(tools, call, limits, report)
    else:
        result = _failure(call, f"not called: more than {limits.calls} calls in one wave; call fewer at once")
    if not result.HasField("duration"):
        result.duration.FromNanoseconds(int((time.monotonic() - begun) * 1e9))
    result.call_id, result.name = call.id, call.name
    await report(update_pb2.ToolUpdate(result=result))
    return result


async def _result(tools: ToolClient, call: ToolCall, limits: Limits, report: Report) -> control_pb2.ToolResult:
    if problem := _not_an_object(call.arguments):
        return _failure(call, f"the arguments {call.arguments!r:.200} are no JSON object: {problem}")
    request = control_pb2.CallToolRequest(call_id=call.id, name=call.name, arguments_json=call.arguments or "{}")
    request.timeout.FromNanoseconds(int(limits.timeout * 1e9))
    try:
        async with aclosing(tools.call(request)) as pieces:
            async for piece in pieces:
                if piece.HasField("result"):
                    return _within(piece.result, limits.characters)
                piece.progress.call_id = call.id
                await report(update_pb2.ToolUpdate(progress=piece.progress))
    except LanemeshError as error:
        return _failure(call, error.fault.message)
    return _failure(call, "the tool ended without a result")


def _not_an_object(arguments: str) -> str:
    try:
        parsed = json.loads(arguments or "{}")
    except ValueError as error:
        return str(error)
    except RecursionError:
        return "nested too deep"
    return "" if isinstance(parsed, dict) else f"they are a {type(parsed).__name__}"


def _failure(call: ToolCall, message: str) -> control_pb2.ToolResult:
    content = json.dumps({"error": message}, ensure_ascii=False)
    return control_pb2.ToolResult(call_id=call.id, name=call.name, content_json=content, is_error=True)


def _within(result: control_pb2.ToolResult, limit: int) -> control_pb2.ToolResult:
    made = control_pb2.ToolResult()
    made.CopyFrom(result)
    if len(made.content_json) > limit:
        cut = {"cut": made.content_json[:limit], "note": f"the first {limit} of {len(result.content_json)} characters"}
        made.content_json = json.dumps(cut, ensure_ascii=False)
    return made
