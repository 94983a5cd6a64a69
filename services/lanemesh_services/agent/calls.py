"""The calls of one wave: in parallel, each with a timeout. A failure is a result for the model."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from lanemesh import LanemeshError, ToolCall, ToolClient, ToolProgress, ToolResult

ReportEvent = Callable[[ToolProgress | ToolResult], Awaitable[None]]
"""Reports the progress or the result of a call to the clients of the run."""

_JSON_TYPES = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """Limits of the calls of a wave."""

    timeout_seconds: float
    """Time limit of a call."""
    max_calls: int
    """Maximum number of calls of one wave; further ones return an error to the model."""
    max_result_characters: int
    """Maximum length of a result; longer ones are truncated."""


async def call_tools(
    tools: ToolClient, calls: Sequence[ToolCall], limits: CallLimits, report: ReportEvent
) -> list[ToolResult]:
    """Makes the calls concurrently and reports their events. A failed call returns its error to the model as a result.

    Returns:
        The results in the order of the calls.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_call(tools, call, limits, report, within_limit=index < limits.max_calls))
                for index, call in enumerate(calls)
            ]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _call(
    tools: ToolClient, call: ToolCall, limits: CallLimits, report: ReportEvent, *, within_limit: bool
) -> ToolResult:
    started_at = time.monotonic()
    if within_limit:
        result = await _execute(tools, call, limits, report)
    else:
        most = f"{limits.max_calls} tool call{'s' if limits.max_calls != 1 else ''}"
        result = _failure(call, f"not called: a wave may have at most {most}; make fewer at once")
    seconds = time.monotonic() - started_at if result.seconds is None else result.seconds
    result = replace(result, call_id=call.id, name=call.name, seconds=seconds)
    await report(result)
    return result


async def _execute(tools: ToolClient, call: ToolCall, limits: CallLimits, report: ReportEvent) -> ToolResult:
    if error := _arguments_error(call.arguments):
        return _failure(call, f"the arguments {call.arguments!r:.200} are not a JSON object: {error}")
    try:
        async with aclosing(tools.stream(call, limits.timeout_seconds)) as events:
            async for event in events:
                if isinstance(event, ToolResult):
                    return _truncated(event, limits.max_result_characters)
                await report(replace(event, call_id=call.id))
    except LanemeshError as failure:
        return _failure(call, failure.fault.message)
    return _failure(call, "the tool ended without a result")


def _arguments_error(arguments: str) -> str:
    """Why arguments are not a JSON object; empty if they are one."""
    try:
        parsed = json.loads(arguments or "{}")
    except ValueError as error:
        return str(error)
    except RecursionError:
        return "nested too deep"
    return "" if isinstance(parsed, dict) else f"they are {_JSON_TYPES.get(type(parsed), 'null')}"


def _failure(call: ToolCall, message: str) -> ToolResult:
    content = json.dumps({"error": message}, ensure_ascii=False)
    return ToolResult(content, call.id, call.name, is_error=True)


def _truncated(result: ToolResult, limit: int) -> ToolResult:
    """The result with the start of its content, if it is longer than the limit."""
    if len(result.content) <= limit:
        return result
    content = {"truncated": result.content[:limit], "note": f"first {limit} of {len(result.content)} characters"}
    return replace(result, content=json.dumps(content, ensure_ascii=False))
