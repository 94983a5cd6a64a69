"""The requests of A2A clients, for every transport: messages start runs, and tasks are runs."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import validate_request_params
from a2a.types import a2a_pb2
from a2a.utils.errors import (
    ContentTypeNotSupportedError,
    InternalError,
    InvalidParamsError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from lanemesh.client.specs import Deployed
from lanemesh.faults import Code, LanemeshError

from lanemesh_orchestrator.a2a_server.artifacts import Artifacts, within
from lanemesh_orchestrator.a2a_server.contents import MAX_CONTENT_BYTES, TaskContents
from lanemesh_orchestrator.a2a_server.events import Event, events_of, new_task, state_of
from lanemesh_orchestrator.a2a_server.inputs import inputs_of
from lanemesh_orchestrator.a2a_server.not_offered import WithoutPush
from lanemesh_orchestrator.a2a_server.tasks import READ_SECONDS, TaskReader

if TYPE_CHECKING:
    from lanemesh.client.detached import DetachedRun
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_host import RunHost

    from lanemesh_orchestrator.mcp_server.catalog import Catalog
    from lanemesh_orchestrator.mcp_server.offers import Offer

log = logging.getLogger("lanemesh.a2a")

AGENT_KEY = "agent"
"""Key in the state of a call: the agent that the path of an HTTP request names."""
CANCEL_SECONDS = 30.0
"""How long a cancellation is awaited."""
MAX_GRPC_BYTES = 4 * 1024 * 1024 - 64 * 1024
"""Most bytes of artifacts in one message of gRPC. Clients accept messages of 4 MiB, unless they are configured otherwise."""
LEFT = "its A2A client left before it had the task"
"""The reason of a cancellation."""
MAX_PAGE = 100
"""Most tasks of one page."""
MAX_CONTEXTS = 10_000
"""Most tasks whose context ids are kept; those of older tasks are their task ids."""


class MeshAgents(WithoutPush):
    """The deployed pipelines of a mesh as agents. A request names its agent by the path of its URL, or by its tenant."""

    def __init__(self, host: RunHost, catalog: Catalog, card: Callable[[Offer], a2a_pb2.AgentCard]) -> None:
        """`catalog` has the deployed pipelines of the mesh `host`; `card` makes the agent card of one."""
        self._host = host
        self._catalog = catalog
        self._card = card
        self._reader = TaskReader(host)
        self._contexts: OrderedDict[str, str] = OrderedDict()

    @validate_request_params
    async def on_message_send(
        self, params: a2a_pb2.SendMessageRequest, context: ServerCallContext
    ) -> a2a_pb2.Task | a2a_pb2.Message:
        """Starts a task; returns it when it has ended, or at once if the client wants that. If the client leaves before it has the
        task, the run is cancelled."""
        run, context_id = await self._start(params.message, context)
        if params.configuration.return_immediately:
            return new_task(run.id, context_id)
        contents = TaskContents(run.id, context_id)
        try:
            with a2a_errors():
                async with aclosing(events_of(run, contents.artifacts)) as events:
                    async for event in events:
                        contents.add(event)
        except BaseException:
            await _abandon(run)
            raise
        return contents.task(most_bytes(context))

    @validate_request_params
    async def on_message_send_stream(
        self, params: a2a_pb2.SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Starts a task, and yields it and its events. A client that disconnects once it has the task leaves it, and it continues;
        before that, the run is cancelled."""
        run, context_id = await self._start(params.message, context)
        try:
            yield new_task(run.id, context_id)
        except BaseException:
            await _abandon(run)
            raise
        async with aclosing(self._events(run, Artifacts(run.id, context_id), context)) as events:
            async for event in events:
                yield event

    @validate_request_params
    async def on_subscribe_to_task(
        self, params: a2a_pb2.SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Yields a task as it is, then each further event, the terminal one last. None is lost in between: both are made from the
        run's log of updates."""
        record = await self._record(params.id, context)
        if record.state.is_terminal:
            name = a2a_pb2.TaskState.Name(state_of(record.state))
            raise UnsupportedOperationError(message=f"task {record.run_id} has ended ({name}); get it instead")
        contents = TaskContents(record.run_id, self._context_of(record.run_id))
        with a2a_errors():
            async with asyncio.timeout(READ_SECONDS):
                await contents.read(self._host.attach(record.run_id), record.last_sequence)
        yield contents.task(most_bytes(context))
        if contents.has_ended:
            return
        run, artifacts = self._host.attach(record.run_id, record.last_sequence + 1), contents.artifacts
        del contents
        async with aclosing(self._events(run, artifacts, context)) as events:
            async for event in events:
                yield event

    @validate_request_params
    async def on_get_task(self, params: a2a_pb2.GetTaskRequest, context: ServerCallContext) -> a2a_pb2.Task | None:
        """A task as it is now, with its artifacts."""
        return await self._task(await self._record(params.id, context), most_bytes(context))

    @validate_request_params
    async def on_cancel_task(
        self, params: a2a_pb2.CancelTaskRequest, context: ServerCallContext
    ) -> a2a_pb2.Task | None:
        """Cancels a task; returns it when its run has ended."""
        record = await self._record(params.id, context)
        if record.state.is_terminal:
            raise TaskNotCancelableError(message=f"task {record.run_id} has ended: {record.state}")
        with a2a_errors():
            run = self._host.attach(record.run_id, record.last_sequence)
            await run.cancel("cancelled by an A2A client")
            try:
                async with asyncio.timeout(CANCEL_SECONDS):
                    async with aclosing(run.updates()) as updates:
                        async for _ in updates:
                            pass
            except TimeoutError:
                raise InternalError(message=f"task {record.run_id} has not ended {CANCEL_SECONDS:g} s later") from None
        record = await self._record(params.id, context)
        if state_of(record.state) != a2a_pb2.TASK_STATE_CANCELED:
            raise TaskNotCancelableError(message=f"task {record.run_id} has ended before: {record.state}")
        return await self._task(record, most_bytes(context))

    @validate_request_params
    async def on_list_tasks(
        self, params: a2a_pb2.ListTasksRequest, context: ServerCallContext
    ) -> a2a_pb2.ListTasksResponse:
        """The tasks of an agent, the latest first, with artifacts if the client wants them. A page ends before its tasks exceed
        a message, so it may have fewer than requested."""
        size = min(max(params.page_size, 0) or 50, MAX_PAGE)
        start = int(params.page_token) if params.page_token.isdecimal() and len(params.page_token) < 10 else 0
        with a2a_errors():
            records = await self._host.runs(limit=MAX_CONTEXTS, deployment=_agent(context))
        found = [record for record in records if self._is_listed(record, params)]
        page = found[start : start + size]
        response = a2a_pb2.ListTasksResponse(page_size=size, total_size=len(found))
        limit = left = most_bytes(context)
        for record in page:
            task = self._brief(record)
            if params.include_artifacts:
                with suppress(TaskNotFoundError):  # the record of its run has just been deleted
                    task = await self._task(record, limit)
            left -= task.ByteSize()
            if response.tasks and left < 0:
                break
            response.tasks.append(task)
        if start + len(response.tasks) < len(found):
            response.next_page_token = str(start + len(response.tasks))
        return response

    async def on_get_extended_agent_card(
        self, params: a2a_pb2.GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> a2a_pb2.AgentCard:
        """The card of an agent, for clients without HTTP."""
        with a2a_errors():
            return self._card(await self._offer(context))

    async def _offer(self, context: ServerCallContext) -> Offer:
        """The deployed pipeline that a call names. Raises InvalidParamsError if there is none."""
        name = _agent(context)
        offer = (await self._catalog.offers()).get(name)
        if offer is None:
            raise InvalidParamsError(message=f'there is no agent "{name[:80]}"')
        return offer

    async def _start(self, message: a2a_pb2.Message, context: ServerCallContext) -> tuple[DetachedRun, str]:
        """Starts a run for a message. Returns it with its context, which is the session of the run."""
        if message.task_id:
            await self._record(message.task_id, context)
            raise UnsupportedOperationError(
                message=f"task {message.task_id} takes no further messages. Send a message without taskId; the same contextId "
                "continues the conversation"
            )
        context_id = message.context_id or secrets.token_hex(16)
        with a2a_errors():
            offer = await self._offer(context)
            is_fed = bool(offer.arguments) or offer.form is not None  # otherwise a message only starts it
            inputs = inputs_of(message) if is_fed else []
            run = await self._host.start(Deployed(offer.name), inputs=inputs, session=context_id, source=offer.source)
        self._contexts[run.id] = context_id
        if len(self._contexts) > MAX_CONTEXTS:
            self._contexts.popitem(last=False)
        return run, context_id

    async def _record(self, task_id: str, context: ServerCallContext) -> RunRecord:
        """The run of a task. Raises TaskNotFoundError unless it is a task of this agent."""
        with a2a_errors():
            record = await self._host.record(task_id)
        if not record.detached or record.deployment != _agent(context):
            raise TaskNotFoundError
        return record

    async def _events(
        self, run: DetachedRun, artifacts: Artifacts, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """The events of a task from the first requested update of its run on, each within a message."""
        limit = most_bytes(context)
        with a2a_errors():
            async with aclosing(events_of(run, artifacts)) as events:
                async for event in events:
                    if isinstance(event, a2a_pb2.TaskArtifactUpdateEvent):
                        for part in within(event, limit):
                            yield part
                    else:
                        yield event

    async def _task(self, record: RunRecord, limit: int) -> a2a_pb2.Task:
        """A task with its artifacts, of at most so many bytes."""
        with a2a_errors():
            contents = await self._reader.read(record, self._context_of(record.run_id))
        return contents.task(limit, state_of(record.state) if record.state.is_terminal else None)

    def _brief(self, record: RunRecord) -> a2a_pb2.Task:
        task = a2a_pb2.Task(id=record.run_id, context_id=self._context_of(record.run_id))
        task.status.state = state_of(record.state)
        task.status.timestamp.FromDatetime(record.ended_at or record.started_at or record.created_at)
        return task

    def _is_listed(self, record: RunRecord, params: a2a_pb2.ListTasksRequest) -> bool:
        return (
            record.detached
            and params.status in (a2a_pb2.TASK_STATE_UNSPECIFIED, state_of(record.state))
            and params.context_id in ("", self._context_of(record.run_id))
        )

    def _context_of(self, task_id: str) -> str:
        return self._contexts.get(task_id, task_id)


def most_bytes(context: ServerCallContext) -> int:
    """Most bytes of artifacts in one response or event, which depend on the transport."""
    return MAX_CONTENT_BYTES if AGENT_KEY in context.state else MAX_GRPC_BYTES


@contextmanager
def a2a_errors() -> Iterator[None]:
    """Turns errors of the mesh into those of the protocol."""
    try:
        yield
    except TimeoutError:
        raise InternalError(message="the task could not be read in time. Try again") from None
    except LanemeshError as error:
        fault = error.fault
        kind: type[Any] = InternalError
        if fault.reason == "unknown-run":
            kind = TaskNotFoundError
        elif fault.reason == "bad-input":
            kind = ContentTypeNotSupportedError
        elif fault.code in (Code.INVALID_ARGUMENT, Code.NOT_FOUND):
            kind = InvalidParamsError
        raise kind(message=fault.message) from None


async def _abandon(run: DetachedRun) -> None:
    """Cancels a run whose client has not got its task."""
    try:
        await run.cancel(LEFT)
    except LanemeshError as error:
        log.warning("run %s, whose A2A client has left, could not be cancelled: %s", run.id, error)


def _agent(context: ServerCallContext) -> str:
    """The agent that a call names."""
    name = context.state.get(AGENT_KEY) or context.tenant
    if not name:
        raise InvalidParamsError(message="the request names no agent. Use the URL and the tenant of an agent card")
    return str(name)
