"""The calls of an agent: checked, approved, run at the same time, each with a timeout. A failure is a result for the model."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from lanemesh import Context, LanemeshError, ToolCall, ToolProgress, ToolResult, Usage

from lanemesh_services.agent import built_in
from lanemesh_services.agent.arguments import ArgumentSchemas, BadArguments, parse_arguments
from lanemesh_services.agent.budget import CallUsage, Spending
from lanemesh_services.agent.config import AgentConfig, Schedule
from lanemesh_services.agent.patterns import first_match, matches, names_of
from lanemesh_services.agent.references import resolved_arguments
from lanemesh_services.agent.repeats import Repeats
from lanemesh_services.agent.result_store import ResultStore
from lanemesh_services.agent.toolbox import Toolbox

ReportEvent = Callable[[ToolProgress | ToolResult], Awaitable[None]]
"""Reports the progress or the result of a call to the clients of the run."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A call in the background."""

    work: asyncio.Task[ToolResult]
    """Makes the call. It is cancelled alone, so that the call gets its result in every case."""
    reporting: asyncio.Task[None]
    """Reports its result."""


@dataclass(slots=True)
class WaveOutcome:
    """What came of the calls of one wave."""

    results: list[ToolResult]
    """A result for each call, in order; of a call in the background, that it runs."""
    invalid: int = 0
    """Calls with an unknown tool or invalid arguments."""
    repeated: int = 0
    """Calls that were refused because they were made too often."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A call that may be made."""

    call: ToolCall
    arguments: Mapping[str, Any]
    """Its arguments, with references resolved."""
    names: tuple[str, ...]
    """Its names for patterns."""


class AgentCalls:
    """Makes the calls of one question. Each reported call gets exactly one reported result, however the agent ends."""

    def __init__(
        self,
        config: AgentConfig,
        context: Context,
        toolbox: Toolbox,
        store: ResultStore,
        spending: Spending,
        report: ReportEvent,
    ) -> None:
        self.arrived: list[ToolResult] = []
        """Results of calls in the background that the model has not got."""
        self.interrupted = asyncio.Event()
        """Set when a call with the schedule interrupt has ended, until its result is taken."""
        self.repeats = Repeats(config.max_repeats)
        """The repetitions of calls."""
        self._config = config
        self._context = context
        self._toolbox = toolbox
        self._store = store
        self._spending = spending
        self._report = report
        self._schemas = ArgumentSchemas()
        self._slots = asyncio.Semaphore(config.max_parallel)
        self._background: dict[str, _Running] = {}
        self._open: dict[str, ToolCall] = {}
        """Reported calls without a result, by id."""
        self._reports: set[asyncio.Task[None]] = set()
        """Reports of results, which a cancelled call does not break off."""
        self._changed = asyncio.Event()
        self.peek = built_in.free_name(built_in.PEEK, toolbox.by_name)
        """Name of the tool that reads stored results."""
        self.cancel = built_in.free_name(built_in.CANCEL, toolbox.by_name)
        """Name of the tool that cancels calls."""

    @property
    def running(self) -> bool:
        """Calls run in the background."""
        return bool(self._background)

    def take_arrived(self) -> list[ToolResult]:
        """The results of calls in the background since the last time."""
        taken, self.arrived = self.arrived, []
        self.interrupted.clear()
        return taken

    async def wait_for_result(self) -> None:
        """Waits until a call in the background has ended."""
        while self._background and not self.arrived:
            self._changed.clear()
            await self._changed.wait()

    def note_reported(self, call: ToolCall) -> None:
        """A call was reported, so it gets a result, whether or not it is made."""
        self._open[call.id] = call

    async def wave(self, calls: Sequence[ToolCall]) -> WaveOutcome:
        """Makes the calls of a wave, and reports their events."""
        outcome = WaveOutcome([])
        async with _Tasks() as tasks:
            started = [
                tasks.start(self._one(call, outcome, within_limit=number < self._config.max_calls))
                for number, call in enumerate(calls)
            ]
            outcome.results = [await task for task in started]
        self.repeats.note_wave(len(calls), outcome.repeated)
        return outcome

    async def close(self) -> None:
        """Cancels the calls in the background, and reports a result for each call that has none."""
        running = list(self._background.values())
        for one in running:
            one.work.cancel()
        await asyncio.gather(*(one.reporting for one in running), return_exceptions=True)
        for call in list(self._open.values()):
            self._report_result(replace(failure(call, "the agent ended before this call had a result"), seconds=0.0))
        await asyncio.gather(*self._reports, return_exceptions=True)

    async def _one(self, call: ToolCall, outcome: WaveOutcome, *, within_limit: bool) -> ToolResult:
        if not within_limit:
            most = f"{self._config.max_calls} tool call{'s' if self._config.max_calls != 1 else ''}"
            return await self._ended(
                call, failure(call, f"not called: a wave may have at most {most}; make fewer at once")
            )
        try:
            planned = await self._planned(call)
        except BadArguments as error:
            outcome.invalid += 1
            return await self._ended(call, failure(call, str(error), error.reason))
        if planned is None:
            return await self._ended(call, self._built_in(call))
        if not self.repeats.admit(call.name, planned.arguments):
            outcome.repeated += 1
            why = f"not called: this call was made {self._config.max_repeats} times already. Use its results, or do something else"
            return await self._ended(call, failure(call, why))
        if not self._spending.take_call():
            return await self._ended(call, failure(call, f"not called: the {self._spending.exhausted()} is used up"))
        schedule: Schedule = first_match(planned.names, self._config.schedules, "wait")
        if schedule == "wait":
            return await self._ended(call, await self._made(planned))
        self._start(planned, schedule)
        note = {"status": "running", "call_id": call.id, "note": "its result comes in a later message"}
        return ToolResult(json.dumps(note), call.id, call.name)

    async def _planned(self, call: ToolCall) -> Planned | None:
        """The call with its arguments; None for a built-in tool. Raises BadArguments if it cannot be made."""
        spec = self._toolbox.by_name.get(call.name)
        if spec is None:
            if call.name in (self.peek, self.cancel):
                return None
            known = ", ".join(self._toolbox.by_name)
            raise BadArguments(f'there is no tool "{call.name:.100}"; the tools: {known or "none"}', "unknown-tool")
        arguments = parse_arguments(call.arguments)
        try:
            resolved = await resolved_arguments(arguments, self._store)
        except ValueError as error:
            raise BadArguments(f"the arguments of {call.name}: {error}") from None
        resolved = self._schemas.checked(spec, resolved)
        sent = call if resolved == arguments and call.arguments else replace(call, arguments=json.dumps(resolved))
        return Planned(sent, resolved, names_of(call.name, self._toolbox.helper_of(call.name)))

    def _built_in(self, call: ToolCall) -> ToolResult:
        try:
            arguments = parse_arguments(call.arguments)
            if call.name == self.peek:
                return ToolResult(built_in.peek(self._store, arguments), call.id, call.name)
            return self._cancelled(call, str(arguments["call_id"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            what = f"the argument {error} is missing" if isinstance(error, KeyError) else str(error)
            return failure(call, what)

    def _cancelled(self, call: ToolCall, call_id: str) -> ToolResult:
        found = self._background.get(call_id)
        if found is None:
            running = ", ".join(self._background) or "none"
            return failure(call, f'no call "{call_id:.100}" runs; running: {running}')
        found.work.cancel()
        return ToolResult(json.dumps({"cancelled": call_id}), call.id, call.name)

    def _start(self, planned: Planned, schedule: Schedule) -> None:
        call = planned.call
        work = asyncio.create_task(self._made(planned), name=f"call {call.id}")

        async def report() -> None:
            await asyncio.wait([work])
            if work.cancelled():
                result = failure(call, "the call was cancelled")
            elif (error := work.exception()) is not None:
                result = failure(call, f"the call failed: {type(error).__name__}: {error}")
            else:
                result = work.result()
            self.arrived.append(await self._ended(call, result))
            if schedule == "interrupt":
                self.interrupted.set()

        reporting = asyncio.create_task(report(), name=f"result {call.id}")
        self._background[call.id] = _Running(work, reporting)
        reporting.add_done_callback(lambda _: self._forget(call.id))

    def _forget(self, call_id: str) -> None:
        self._background.pop(call_id, None)
        self._changed.set()

    async def _made(self, planned: Planned) -> ToolResult:
        """The result of a call, after its approval. It is not reported yet."""
        call = planned.call
        if matches(planned.names, self._config.approve):
            seconds, left = self._config.approval_timeout, self._spending.seconds_left
            if left is not None:
                seconds = max(0.001, min(seconds, left))
            decision = await self._context.approval(
                f"call {call.name}", tool=call.name, arguments=call.arguments, call_id=call.id, timeout=seconds
            )
            if not decision:
                return replace(failure(call, f"not called: it was refused: {decision.reason}"), seconds=0.0)
        async with self._slots:
            began = time.monotonic()
            result = await self._executed(planned)
            return result if result.seconds is not None else replace(result, seconds=time.monotonic() - began)

    async def _executed(self, planned: Planned) -> ToolResult:
        call, seconds = planned.call, self._config.tool_timeout
        left = self._spending.seconds_left
        if left == 0.0:
            return failure(call, f"not called: the {self._spending.exhausted()} is used up")
        if left is not None:
            seconds = max(0.001, min(seconds, left))
        used = CallUsage(self._spending)
        try:
            events = self._toolbox.stream(call, planned.arguments, seconds)
            async with aclosing(events):
                async for event in events:
                    usage = event if isinstance(event, Usage) else event.usage
                    if usage is not None:
                        used.reported(usage)
                    if isinstance(event, ToolResult):
                        return event
                    if usage is not None and (exceeded := self._spending.exceeded()):
                        return failure(call, f"cancelled: the {exceeded} is used up")
                    if isinstance(event, ToolProgress):
                        await self._report(replace(event, call_id=call.id))
        except LanemeshError as error:
            return failure(call, error.fault.message, error.fault.reason)
        return failure(call, "the tool ended without a result")

    async def _ended(self, call: ToolCall, result: ToolResult) -> ToolResult:
        """Reports the result of a call, and returns it with the id and name of the call."""
        result = replace(result, call_id=call.id, name=call.name, seconds=result.seconds or 0.0)
        await asyncio.shield(self._report_result(result))
        return result

    def _report_result(self, result: ToolResult) -> asyncio.Task[None]:
        async def report() -> None:
            await self._report(result)

        self._open.pop(result.call_id, None)
        task = asyncio.create_task(report(), name=f"report of {result.call_id}")
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)
        return task


def failure(call: ToolCall, message: str, reason: str = "") -> ToolResult:
    """The result of a call that was not made, or has failed; with the reason, if it has one."""
    content = {"error": message, "reason": reason} if reason else {"error": message}
    return ToolResult(json.dumps(content, ensure_ascii=False), call.id, call.name, is_error=True)


class _Tasks:
    """Tasks that are cancelled and awaited at the end. The first exception is raised alone, not in a group."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self, work: Coroutine[Any, Any, ToolResult]) -> asyncio.Task[ToolResult]:
        """Starts work."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> _Tasks:
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
