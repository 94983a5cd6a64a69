"""Long calls as tasks: the extension `io.modelcontextprotocol/tasks` (SEP-2663), by hand, because the SDK lacks it.

A task is a run that continues without its caller, and its id is the run's id. So the server has no state of its own for it: any
`lanemesh mcp` of the mesh answers for any task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from lanemesh.client.specs import Deployed
from lanemesh.client.updates import ApprovalState, ApprovalUpdate, RunState
from lanemesh.faults import Code, LanemeshError
from mcp.server import ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, CallToolResult, RequestParams, Result
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from lanemesh_orchestrator.mcp_server.approvals import SILENT, Approvals, answer
from lanemesh_orchestrator.mcp_server.calls import Reporter, follow
from lanemesh_orchestrator.mcp_server.insulation import insulated

if TYPE_CHECKING:
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_host import RunHost
    from lanemesh.client.run_reader import RunReader

    from lanemesh_orchestrator.mcp_server.offers import Offer

TASKS = "io.modelcontextprotocol/tasks"
"""Identifier of the extension."""
TASK_SECONDS = 0.5
"""How long a call of a client with tasks is answered directly. A longer one becomes a task."""
POLL_MS = 1_000
"""How often a client should ask for a task, in milliseconds."""
TTL_MS = 600_000
"""How long a task can be read after its creation, in milliseconds. A mesh with a store keeps it longer."""
READ_SECONDS = 30.0
"""How long the reading of one result may take."""
MAX_READS = 4
"""Most results that are read at the same time; each has at most 16 MiB."""
_VERSIONS = frozenset(MODERN_PROTOCOL_VERSIONS)


class TaskCreated(Result):
    """The result of a call that has become a task."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: Literal["working"] = "working"
    created_at: str
    last_updated_at: str
    ttl_ms: int = TTL_MS
    poll_interval_ms: int = POLL_MS


class TaskParams(RequestParams):
    """The parameters of a request about a task."""

    task_id: str


class TaskUpdateParams(TaskParams):
    """Answers to the input requests of a task."""

    input_responses: dict[str, Any] = Field(default_factory=dict)


def supports_tasks(context: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client of a request declares the extension, in a version of the protocol that has it."""
    capabilities = context.session.client_capabilities
    declared = capabilities.extensions if capabilities is not None else None
    return context.protocol_version in _VERSIONS and TASKS in (declared or {})


async def call_or_task(
    host: RunHost, offer: Offer, arguments: Mapping[str, Any], reporter: Reporter
) -> CallToolResult | TaskCreated:
    """Runs a deployed pipeline. A run that has not ended within `TASK_SECONDS`, or needs an approval, becomes a task. Cancelling
    this cancels the run.

    Raises:
        LanemeshError: the arguments are invalid, or the run cannot be started.
    """
    run = await host.start(Deployed(offer.name), inputs=offer.inputs(arguments), source=offer.source)
    created_at = _stamp(datetime.now(UTC))
    created = TaskCreated(task_id=run.id, created_at=created_at, last_updated_at=created_at)
    try:
        async with asyncio.timeout(TASK_SECONDS):
            result = await follow(run, _EndingAtApprovals(reporter))
    except TimeoutError:
        return created
    except BaseException:
        await run.cancel("cancelled by an MCP client")
        raise
    if result is not None and not run.state.is_terminal:
        await run.cancel("its outputs are too large for an MCP result")
    return result or created


class TasksExtension(Extension):
    """`tasks/get`, `tasks/cancel` and `tasks/update`."""

    identifier = TASKS

    def __init__(self, host: RunHost) -> None:
        self._host = host
        self._limit = asyncio.Semaphore(MAX_READS)

    def methods(self) -> Sequence[MethodBinding]:
        """The methods of the extension."""
        bound = (
            ("tasks/get", TaskParams, self._get),
            ("tasks/cancel", TaskParams, self._cancel),
            ("tasks/update", TaskUpdateParams, self._update),
        )
        return [MethodBinding(name, params, handler, _VERSIONS) for name, params, handler in bound]

    async def _get(self, context: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        """The state of a task, with its result once it has ended."""
        record = await self._record(context, params)
        updated = record.ended_at or datetime.now(UTC)
        task: dict[str, Any] = {
            "resultType": "complete",
            "taskId": record.run_id,
            "status": "working",
            "createdAt": _stamp(record.created_at),
            "lastUpdatedAt": _stamp(updated),
            "ttlMs": TTL_MS,
            "pollIntervalMs": POLL_MS,
        }
        if record.state is RunState.CANCELLED:
            return task | {"status": "cancelled", "statusMessage": record.reason or "the run was cancelled"}
        if record.state.is_terminal:
            return task | await self._end(record)
        approvals = Approvals.of(record)
        if not approvals.pending:
            return task
        requests = {key: one.model_dump(by_alias=True, mode="json") for key, one in approvals.requests().items()}
        return task | {"status": "input_required", "inputRequests": requests}

    async def _end(self, record: RunRecord) -> dict[str, Any]:
        """The fields of a task whose run has ended. A failed run is a result with `isError`; a result that cannot be delivered is a
        failed task."""
        run = self._host.attach(record.run_id)
        try:
            async with asyncio.timeout(READ_SECONDS), self._limit:
                result = await insulated(follow(run, SILENT))
        except TimeoutError:
            message = f"the outputs of run {run.id} could not be read within {READ_SECONDS:g} s. Get the task again"
            raise MCPError(INTERNAL_ERROR, message) from None
        except LanemeshError as error:
            if error.fault.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):  # the result is not lost
                raise MCPError(INTERNAL_ERROR, str(error)) from None
            return _failed(str(error))
        if run.missed:
            return _failed(f"{run.missed:,} updates of run {run.id} are no longer kept. Give the mesh a store")
        if not run.state.is_terminal:  # the reading ended early
            return _failed(f"the outputs of run {run.id} are too large for a result. `lanemesh show {run.id}` has them")
        assert result is not None, "the run has ended"
        return {"status": "completed", "result": result.model_dump(by_alias=True, mode="json", exclude_none=True)}

    async def _cancel(self, context: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        """Cancels a task. Has no effect if it has ended."""
        record = await self._record(context, params)
        if not record.state.is_terminal:
            await self._host.attach(record.run_id).cancel("cancelled by an MCP client")
        return {"resultType": "complete"}

    async def _update(self, context: ServerRequestContext[Any, Any], params: TaskUpdateParams) -> dict[str, Any]:
        """Decides approvals. An answer to a question that is not pending has no effect."""
        record = await self._record(context, params)
        approvals = Approvals.of(record)
        run = self._host.attach(record.run_id)
        for key, response in params.input_responses.items():
            if key in approvals.pending:
                await answer(run, key, response)
        return {"resultType": "complete"}

    async def _record(self, context: ServerRequestContext[Any, Any], params: TaskParams) -> RunRecord:
        """The record of a task's run. Raises MCPError if there is none, or the client does not declare the extension."""
        require_client_extension(context, TASKS)
        _check_header(context, params.task_id)
        try:
            record = await self._host.record(params.task_id)
        except LanemeshError as error:
            code = INVALID_PARAMS if error.fault.code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT) else INTERNAL_ERROR
            raise MCPError(code, str(error)) from None
        if not (record.detached and record.deployment):
            raise MCPError(INVALID_PARAMS, f"there is no task {params.task_id[:80]!r}")
        return record


class _EndingAtApprovals:
    """Reports as another reporter does, and ends the reading when an approval is requested."""

    def __init__(self, inner: Reporter) -> None:
        self.progress = inner.progress
        self.log = inner.log

    async def approval(self, run: RunReader, update: ApprovalUpdate) -> bool:
        """Ends the reading for a request."""
        return update.state is ApprovalState.REQUESTED


def _failed(message: str) -> dict[str, Any]:
    return {"status": "failed", "error": {"code": INTERNAL_ERROR, "message": message}}


def _check_header(context: ServerRequestContext[Any, Any], task_id: str) -> None:
    """Over HTTP the header `Mcp-Name` has to name the task, so that a proxy can route the request."""
    headers = getattr(context.request, "headers", None)
    if headers is not None and decode_header_value(headers.get(MCP_NAME_HEADER)) != task_id:
        raise MCPError(HEADER_MISMATCH, f"the header {MCP_NAME_HEADER} does not have the task's id, {task_id[:80]!r}")


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
