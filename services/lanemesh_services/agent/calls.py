"""The calls of one wave: in parallel, each with a timeout. A failure is a result for the model."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from lanemesh import LanemeshError, ToolCall, ToolClient, ToolProgress, ToolResult

Report = Callable[[ToolProgress | ToolResult], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of the calls of a wave."""

    timeout: float
    """Time limit of a call, in seconds."""
    calls: int
    """Maximum number of calls of one wave; further ones return an error to the model."""
    characters: int
    """Maximum length of a result; longer ones are truncated."""


async def call_all(tools: ToolClient, calls: Sequence[ToolCall], limits: Limits, report: Report) -> list[ToolResult]:
    """Makes the calls concurrently and reports their events. Returns the results in the order of the calls."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_call(tools, call, limits, report, made=place < limits.calls))
                for place, call in enumerate(calls)
            ]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _call(tools: ToolClient, call: ToolCall, limits: Limits, report: Report, *, made: bool) -> ToolResult:
    begun = time.monotonic()
    if made:
        result = await _result(tools, call, limits, report)
    else:
        result = _failure(call, f"not called: more than {limits.calls} calls in one wave; make fewer calls at once")
    seconds = time.monotonic() - begun if result.seconds is None else result.seconds
    result = replace(result, call_id=call.id, name=call.name, seconds=seconds)
    await report(result)
    return result


async def _result(tools: ToolClient, call: ToolCall, limits: Limits, report: Report) -> ToolResult:
    if problem := _not_an_object(call.arguments):
        return _failure(call, f"the arguments {call.arguments!r:.200} are not a JSON object: {problem}")
    try:
        async with aclosing(tools.stream(call, limits.timeout)) as events:
            async for event in events:
                if isinstance(event, ToolResult):
                    return _within(event, limits.characters)
                await report(replace(event, call_id=call.id))
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


def _failure(call: ToolCall, message: str) -> ToolResult:
    content = json.dumps({"error": message}, ensure_ascii=False)
    return ToolResult(content, call.id, call.name, is_error=True)


def _within(result: ToolResult, limit: int) -> ToolResult:
    if len(result.content) <= limit:
        return result
    cut = {"cut": result.content[:limit], "note": f"the first {limit} of {len(result.content)} characters"}
    return replace(result, content=json.dumps(cut, ensure_ascii=False))
