"""The models and tools of a guest, which is code or a framework outside Lanemesh. Their use is reported to the run's clients."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from lanemesh import (
    ChatEvent,
    ChatRequest,
    ChatText,
    Context,
    LanemeshError,
    LlmClient,
    ToolCall,
    ToolClient,
    ToolProgress,
    ToolResult,
    ToolSpec,
    Usage,
)
from lanemesh.extend import CallableTool, ChatClient

MAX_THOUGHT_CHARACTERS = 64 * 1024
"""Most characters of one thought that are reported: 64 Ki."""


class GuestReport:
    """What a guest does for one question: its turns, calls and tokens."""

    def __init__(self, context: Context, tool_timeout: float) -> None:
        """`tool_timeout`: time limit of one tool call in seconds, unless the call has its own."""
        self.wave = 0
        """Number of turns that its models have begun."""
        self.tool_timeout = tool_timeout
        self._context = context
        self._usage = Usage(0, 0)

    def reported_context(self) -> Context:
        """The context for the guest: its models and tools report each turn and call."""
        models = self._context.llms
        named = [(name, ReportedModel(model, self)) for name, model in zip(models.names, models, strict=True)]
        tools = ReportedTools(self._context.tools, self)
        return self._context.using("llm", named).using("tool", (), tools)

    @property
    def usage(self) -> Usage | None:
        """The tokens of all turns, their cost, and the calls of tools, with those of sub-agents; None if there were none."""
        return self._usage if self.wave or self._usage.tool_calls else None

    def count(self, usage: Usage) -> None:
        """Adds the usage of a turn or of a call."""
        self._usage += usage

    async def event(self, event: str | ToolCall | ToolProgress | ToolResult) -> None:
        """Reports a thought (a text), a call, its progress or its result."""
        if isinstance(event, str):
            event = self._context.secrets.hidden(event.strip())[:MAX_THOUGHT_CHARACTERS]
        if event:
            await self._context.report_tool(event, wave=max(self.wave, 1))


class ReportedModel(ChatClient):
    """A model whose thoughts, the text of turns that call tools, are reported."""

    def __init__(self, model: LlmClient, report: GuestReport) -> None:
        self._model = model
        self._report = report

    async def turn(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """One turn of the model, as it is generated."""
        self._report.wave += 1
        text: list[str] = []
        called = False
        turn = self._model.stream(
            request.messages, tools=request.tools, schema=request.schema, sampling=request.sampling
        )
        async with aclosing(turn) as events:
            async for event in events:
                match event:
                    case ChatText():
                        text.append(event.text)
                    case ToolCall() if not called:
                        called = True
                        await self._report.event("".join(text))
                    case Usage():
                        self._report.count(event)
                yield event


class ReportedTools:
    """Tools whose calls, progress and results are reported. Each call has a time limit."""

    def __init__(self, tools: ToolClient, report: GuestReport) -> None:
        self._tools = tools
        self._report = report

    def __getitem__(self, name: str) -> CallableTool:
        """A tool to be called with its arguments."""
        return CallableTool(self, name)

    async def specs(self) -> tuple[ToolSpec, ...]:
        """The tools of all helpers."""
        return await self._tools.specs()

    @property
    def fixed(self) -> bool:
        """The tools do not change during the run, by the last `specs`."""
        return self._tools.fixed

    def helper_of(self, name: str) -> str:
        """The component of the helper that has a tool, by the last `specs`; empty if it is not known."""
        return self._tools.helper_of(name)

    async def stream(
        self, call: ToolCall, timeout: float | None = None
    ) -> AsyncGenerator[ToolProgress | ToolResult, None]:
        """Calls a tool. Arguments and errors are those of `ToolClient.stream`."""
        await self._report.event(call)
        self._report.count(Usage(0, 0, tool_calls=1))
        used: Usage | None = None
        began, ended = time.monotonic(), False
        try:
            async with aclosing(self._tools.stream(call, timeout or self._report.tool_timeout)) as events:
                async for event in events:
                    used = event.usage or used
                    if isinstance(event, ToolResult):
                        seconds = time.monotonic() - began if event.seconds is None else event.seconds
                        event = replace(event, call_id=call.id, name=call.name, seconds=seconds)
                    else:
                        event = replace(event, call_id=call.id)
                    await self._report.event(event)
                    ended = isinstance(event, ToolResult)
                    yield event
        except LanemeshError as error:
            ended = True
            await self._report.event(failed_call(call, error.fault.message, time.monotonic() - began))
            raise
        finally:
            if used is not None:
                self._report.count(used)
            if not ended:
                await self._report.event(failed_call(call, "the call was cancelled", time.monotonic() - began))


async def called_for_model(tools: ToolClient, call: ToolCall) -> ToolResult:
    """Calls a tool. Returns its result; a failure is a result for the model."""
    try:
        async with aclosing(tools.stream(call)) as events:
            async for event in events:
                if isinstance(event, ToolResult):
                    return event
    except LanemeshError as error:
        return failed_call(call, error.fault.message)
    return failed_call(call, "the tool ended without a result")


def failed_call(call: ToolCall, message: str, seconds: float | None = None) -> ToolResult:
    """The result of a call that failed."""
    content = json.dumps({"error": message}, ensure_ascii=False)
    return ToolResult(content, call.id, call.name, is_error=True, seconds=seconds)
