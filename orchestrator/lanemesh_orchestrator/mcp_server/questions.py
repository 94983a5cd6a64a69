"""Calls that ask their user for approvals by results that require input, as since 2026-07-28.

The run is detached. Its id is in the state that the client returns with the answers, so any `lanemesh mcp` with the same token can
go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lanemesh.client.specs import Deployed
from lanemesh.faults import Code, Fault, LanemeshError
from mcp_types import CallToolResult, InputRequiredResult

from lanemesh_orchestrator.mcp_server.approvals import Approvals, answer
from lanemesh_orchestrator.mcp_server.calls import Reporter, follow

if TYPE_CHECKING:
    from lanemesh.client.detached import DetachedRun
    from lanemesh.client.run_host import RunHost
    from lanemesh.client.run_reader import RunReader
    from lanemesh.client.updates import ApprovalUpdate

    from lanemesh_orchestrator.mcp_server.offers import Offer


async def call_with_questions(
    host: RunHost,
    offer: Offer,
    arguments: Mapping[str, Any],
    reporter: Reporter,
    state: str | None,
    answers: Mapping[str, Any],
) -> CallToolResult | InputRequiredResult:
    """Runs a deployed pipeline, or goes on with a run whose id is `state`, after it was given these answers by their keys. Returns
    the questions of the run as soon as there are some. Cancelling this cancels the run.

    Raises:
        LanemeshError: the arguments are invalid, the run cannot be started, or there is no such run of the pipeline.
    """
    seen = 0
    if state is None:
        run = await host.start(Deployed(offer.name), inputs=offer.inputs(arguments), source=offer.source)
    else:
        run = await _continued(host, offer, state, answers)
        record = await host.record(run.id)
        approvals = Approvals.of(record)
        if approvals.pending:
            return _required(run, approvals)
        seen = record.last_sequence
    asking = _Asking(reporter, seen)
    try:
        result = await follow(run, asking)
    except BaseException:
        await run.cancel("cancelled by an MCP client")
        raise
    if result is None:
        return _required(run, asking.approvals)
    if not run.state.is_terminal:
        await run.cancel("its outputs are too large for an MCP result")
    return result


async def _continued(host: RunHost, offer: Offer, run_id: str, answers: Mapping[str, Any]) -> DetachedRun:
    """The run, after it was given the answers."""
    if (await host.record(run_id)).deployment != offer.name:
        message = f"run {run_id[:80]} is not one of {offer.name}. Call the tool again without the state"
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="unknown-tool", message=message))
    run = host.attach(run_id)
    for key, response in answers.items():
        await answer(run, key, response)
    return run


def _required(run: DetachedRun, approvals: Approvals) -> InputRequiredResult:
    return InputRequiredResult(input_requests=dict(approvals.requests()), request_state=run.id)


class _Asking:
    """Reports as another reporter does, and ends the reading when an approval is requested after the update `seen`."""

    def __init__(self, inner: Reporter, seen: int) -> None:
        self.approvals = Approvals()
        self._seen = seen
        self.progress = inner.progress
        self.log = inner.log

    async def approval(self, run: RunReader, update: ApprovalUpdate) -> bool:
        """Notes an approval."""
        self.approvals.note(update)
        return bool(self.approvals.pending) and update.sequence > self._seen
