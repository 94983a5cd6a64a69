"""One call of a tool: a run of its pipeline, whose progress is reported while it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

from lanemesh.client.results import RunFailed, failure_of
from lanemesh.client.specs import Deployed
from lanemesh.client.updates import (
    ApprovalUpdate,
    LogUpdate,
    OutputUpdate,
    ProgressUpdate,
    ThoughtUpdate,
    ToolCallUpdate,
    ToolProgressUpdate,
    Update,
)
from lanemesh.faults import Code, Fault, LanemeshError
from mcp_types import CallToolResult, ContentBlock, TextContent

from lanemesh_orchestrator.mcp_server.outcome import Outcome

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost
    from lanemesh.client.run_reader import RunReader

    from lanemesh_orchestrator.mcp_server.offers import Offer

RUN_ID_KEY = "lanemesh/runId"
"""Key in the `_meta` of a result: the id of the run."""
PROGRESS_SECONDS = 0.05
"""Shortest time between two progress reports of outputs. Those of nodes and tools are reported at once."""
MAX_MESSAGE = 2_000
"""Most characters of a progress report."""


class Reporter(Protocol):
    """Reports to the caller while a call goes on."""

    async def progress(self, done: float, message: str) -> None:
        """Reports progress. `done` increases with each report."""

    async def log(self, level: str, component: str, message: str) -> None:
        """Passes on a log line of a node. `level` is "debug", "info", "warning" or "error"."""

    async def approval(self, run: RunReader, update: ApprovalUpdate) -> bool:
        """Handles an approval that was requested or decided. Returns whether the reading of the run has to end for it."""


async def call(host: RunHost, offer: Offer, arguments: Mapping[str, Any], reporter: Reporter) -> CallToolResult:
    """Runs a deployed pipeline. Cancelling this cancels the run.

    A failed run is a result with `is_error`, which has the cause, and what the run had delivered before.

    Raises:
        LanemeshError: the arguments are invalid, or the run cannot be started.
    """
    inputs = offer.inputs(arguments)
    async with host.run(Deployed(offer.name), inputs=inputs, source=offer.source) as run:
        result = await follow(run, reporter)
        assert result is not None, "such a call asks its user during the run"
        return result


async def follow(run: RunReader, reporter: Reporter) -> CallToolResult | None:
    """Reads a run to its end; returns its outputs as a result. A result that is too large ends this, with an error result. Returns
    None if the reporter has ended the reading, because of an approval."""
    outcome, reports = Outcome(run.id), _Reports(reporter)
    fault = None
    async with aclosing(run.updates()) as updates:
        async for update in updates:
            if isinstance(update, ApprovalUpdate):
                if await reporter.approval(run, update):
                    return None
                continue
            try:
                text = outcome.add(update) if isinstance(update, OutputUpdate) else ""
            except LanemeshError as error:
                fault = error
                break
            await reports.report(update, text)
    if fault is None and run.missed:
        fault = _dropped(run)
    if fault is None:
        try:
            run.raise_unless_completed()
        except RunFailed:
            fault = LanemeshError(failure_of(run.id, run._error, run.reason))
    return result_of(run.id, outcome, fault)


def result_of(run_id: str, outcome: Outcome, fault: LanemeshError | None) -> CallToolResult:
    """The result of a run that has ended, with the cause if it failed."""
    content, meta = outcome.content(), {RUN_ID_KEY: run_id}
    if fault is None:
        return CallToolResult(content=content, structured_content=outcome.structured(), _meta=meta)
    return error_result(fault, content, meta)


def error_result(
    error: LanemeshError, content: list[ContentBlock] | None = None, meta: dict[str, Any] | None = None
) -> CallToolResult:
    """An error as a result that a model can read, before what was delivered until then."""
    details = error.fault.details
    where = [details[key] for key in ("component", "server") if details.get(key)]
    text = f"{error.fault.message} ({', '.join(where)})" if where else error.fault.message
    return CallToolResult(content=[TextContent(text=text), *(content or ())], is_error=True, _meta=meta)


def _dropped(run: RunReader) -> LanemeshError:
    message = f"{run.missed:,} updates of run {run.id} are no longer kept, and its outputs may be among them. Give the mesh a store"
    return LanemeshError(Fault(code=Code.DATA_LOSS, reason="updates-dropped", message=message))


class _Reports:
    """Turns updates into reports."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._done = 0
        self._pieces: list[str] = []
        self._reported_at = -PROGRESS_SECONDS

    async def report(self, update: Update, text: str) -> None:
        """Reports an update. `text` is that of an output."""
        if isinstance(update, OutputUpdate):
            await self._output(text)
        elif isinstance(update, LogUpdate):
            await self._reporter.log(update.level.value, update.component, update.message)
        elif message := _message(update):
            await self._progress(message)

    async def _output(self, text: str) -> None:
        """Reports outputs together, if the last report is recent. What is left at the end is in the result."""
        if text and sum(map(len, self._pieces)) < MAX_MESSAGE:
            self._pieces.append(text)
        if self._pieces and time.monotonic() - self._reported_at >= PROGRESS_SECONDS:
            await self._progress("".join(self._pieces))
            self._pieces.clear()

    async def _progress(self, message: str) -> None:
        self._done += 1
        self._reported_at = time.monotonic()
        await self._reporter.progress(self._done, message[:MAX_MESSAGE])


def _message(update: Update) -> str:
    """What a progress report has of an update; empty: nothing."""
    match update:
        case ProgressUpdate():
            share = f"{update.done:g} of {update.total:g}" if update.total else f"{update.done:g}"
            return f"{update.component}: {update.message or 'progress'} ({share})"
        case ThoughtUpdate():
            return f"{update.component}: {update.text}"
        case ToolCallUpdate():
            return f"{update.component} calls {update.call.name}"
        case ToolProgressUpdate():
            return f"{update.component}: {update.message}"
    return ""
