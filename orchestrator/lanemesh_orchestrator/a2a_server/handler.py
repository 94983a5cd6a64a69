"""The requests of A2A clients, for every transport: messages start runs, and tasks are runs."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler, validate_request_params
from a2a.types import a2a_pb2
from a2a.utils.errors import (
    ContentTypeNotSupportedError,
    ExtendedAgentCardNotConfiguredError,
    InternalError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from lanemesh.client.specs import Deployed
from lanemesh.faults import Code, LanemeshError

from lanemesh_orchestrator.a2a_server.events import Event, add_event, events_of, new_task, state_of, task_until
from lanemesh_orchestrator.a2a_server.inputs import inputs_of

if TYPE_CHECKING:
    from lanemesh.client.detached import DetachedRun
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_host import RunHost

    from lanemesh_orchestrator.mcp_server.catalog import Catalog

AGENT_KEY = "agent"
"""Key in the state of a call: the agent that the path of an HTTP request names."""
CANCEL_SECONDS = 30.0
"""How long a cancellation is awaited."""
MAX_PAGE = 100
"""Most tasks of one page."""
MAX_CONTEXTS = 10_000
"""Most tasks whose context ids are kept; those of older tasks are their task ids."""


class MeshAgents(RequestHandler):
    """The deployed pipelines of a mesh as agents. A request names its agent by the path of its URL, or by its tenant."""

    def __init__(self, host: RunHost, catalog: Catalog) -> None:
        """`catalog` has the deployed pipelines of the mesh `host`."""
        self._host = host
        self._catalog = catalog
        self._contexts: OrderedDict[str, str] = OrderedDict()

    @validate_request_params
    async def on_message_send(
        self, params: a2a_pb2.SendMessageRequest, context: ServerCallContext
    ) -> a2a_pb2.Task | a2a_pb2.Message:
        """Starts a task; returns it when it has ended, or at once if the client wants that."""
        run, context_id = await self._start(params.message, context)
        task = new_task(run.id, context_id)
        if not params.configuration.return_immediately:
            with a2a_errors():
                async with aclosing(events_of(run, context_id)) as events:
                    async for _, event in events:
                        add_event(task, event)
        return task

    @validate_request_params
    async def on_message_send_stream(
        self, params: a2a_pb2.SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Starts a task, and yields it and its events. A client that disconnects leaves the task, which continues."""
        run, context_id = await self._start(params.message, context)
        yield new_task(run.id, context_id)
        with a2a_errors():
            async with aclosing(events_of(run, context_id)) as events:
                async for _, event in events:
                    if event is not None:
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
        context_id = self._context_of(record.run_id)
        task = new_task(record.run_id, context_id)
        sent = record.last_sequence == 0
        if sent:
            yield task
        with a2a_errors():
            async with aclosing(events_of(self._host.attach(record.run_id), context_id)) as events:
                async for sequence, event in events:
                    if sequence <= record.last_sequence:
                        add_event(task, event)
                    if not sent and sequence >= record.last_sequence:
                        sent = True
                        yield task
                    if event is not None and sequence > record.last_sequence:
                        yield event

    @validate_request_params
    async def on_get_task(self, params: a2a_pb2.GetTaskRequest, context: ServerCallContext) -> a2a_pb2.Task | None:
        """A task as it is now, with its artifacts."""
        return await self._task(await self._record(params.id, context))

    @validate_request_params
    async def on_cancel_task(
        self, params: a2a_pb2.CancelTaskRequest, context: ServerCallContext
    ) -> a2a_pb2.Task | None:
        """Cancels a task; returns it when its run has ended."""
        record = await self._record(params.id, context)
        if record.state.is_terminal:
            raise TaskNotCancelableError(message=f"task {record.run_id} has ended: {record.state}")
        with a2a_errors():
            run = self._host.attach(record.run_id)
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
        return await self._task(record)

    @validate_request_params
    async def on_list_tasks(
        self, params: a2a_pb2.ListTasksRequest, context: ServerCallContext
    ) -> a2a_pb2.ListTasksResponse:
        """The tasks of an agent, the latest first, without their artifacts unless the client wants them."""
        size = min(max(params.page_size, 0) or 50, MAX_PAGE)
        start = int(params.page_token) if params.page_token.isdecimal() and len(params.page_token) < 10 else 0
        with a2a_errors():
            records = await self._host.runs(limit=MAX_CONTEXTS, deployment=_agent(context))
        found = [record for record in records if self._is_listed(record, params)]
        page = found[start : start + size]
        response = a2a_pb2.ListTasksResponse(page_size=size, total_size=len(found))
        if start + size < len(found):
            response.next_page_token = str(start + size)
        for record in page:
            if params.include_artifacts:
                response.tasks.append(await self._task(record))
            else:
                response.tasks.append(self._brief(record))
        return response

    async def on_create_task_push_notification_config(
        self, params: a2a_pb2.TaskPushNotificationConfig, context: ServerCallContext
    ) -> a2a_pb2.TaskPushNotificationConfig:
        """Not supported."""
        _no_push()

    async def on_get_task_push_notification_config(
        self, params: a2a_pb2.GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> a2a_pb2.TaskPushNotificationConfig:
        """Not supported."""
        _no_push()

    async def on_list_task_push_notification_configs(
        self, params: a2a_pb2.ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> a2a_pb2.ListTaskPushNotificationConfigsResponse:
        """Not supported."""
        _no_push()

    async def on_delete_task_push_notification_config(
        self, params: a2a_pb2.DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Not supported."""
        _no_push()

    async def on_get_extended_agent_card(
        self, params: a2a_pb2.GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> a2a_pb2.AgentCard:
        """There is none."""
        raise ExtendedAgentCardNotConfiguredError

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
            name = _agent(context)
            offer = (await self._catalog.offers()).get(name)
            if offer is None:
                raise InvalidParamsError(message=f'there is no agent "{name[:80]}"')
            is_fed = bool(offer.arguments) or offer.form is not None  # otherwise a message only starts it
            inputs = inputs_of(message) if is_fed else []
            run = await self._host.start(Deployed(name), inputs=inputs, session=context_id)
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

    async def _task(self, record: RunRecord) -> a2a_pb2.Task:
        with a2a_errors():
            return await task_until(self._host.attach(record.run_id), record, self._context_of(record.run_id))

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


@contextmanager
def a2a_errors() -> Iterator[None]:
    """Turns errors of the mesh into those of the protocol."""
    try:
        yield
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


def _agent(context: ServerCallContext) -> str:
    """The agent that a call names."""
    name = context.state.get(AGENT_KEY) or context.tenant
    if not name:
        raise InvalidParamsError(message="the request names no agent. Use the URL and the tenant of an agent card")
    return str(name)


def _no_push() -> NoReturn:
    raise PushNotificationNotSupportedError(message="push notifications are not supported; subscribe to the task")
