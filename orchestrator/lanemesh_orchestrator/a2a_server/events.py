"""The updates of a run as events of a task, and the task so far."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from a2a.types import a2a_pb2
from a2a.utils.errors import InternalError
from lanemesh.client.updates import (
    JobUpdate,
    OutputUpdate,
    ProgressUpdate,
    RunState,
    ThoughtUpdate,
    ToolCallUpdate,
    ToolProgressUpdate,
    Update,
)

from lanemesh_orchestrator.a2a_server.artifacts import MAX_ARTIFACT_BYTES, Artifacts, add_to_task

if TYPE_CHECKING:
    from lanemesh.client.detached import DetachedRun
    from lanemesh.client.records import RunRecord

Event = a2a_pb2.Task | a2a_pb2.TaskStatusUpdateEvent | a2a_pb2.TaskArtifactUpdateEvent
"""An event of a task."""
STATES = {
    RunState.COMPLETED: a2a_pb2.TASK_STATE_COMPLETED,
    RunState.FAILED: a2a_pb2.TASK_STATE_FAILED,
    RunState.CANCELLED: a2a_pb2.TASK_STATE_CANCELED,
}
"""The states of tasks whose runs have ended."""
MAX_MESSAGE = 2_000
"""Most characters of a progress report."""


def state_of(state: RunState) -> a2a_pb2.TaskState:
    """The state of a task by that of its run."""
    return STATES.get(state, a2a_pb2.TASK_STATE_WORKING)


async def events_of(run: DetachedRun, context_id: str) -> AsyncGenerator[tuple[int, Event | None], None]:
    """Every update of a task's run by its number, with the event that it is, if any. The terminal event is the last."""
    artifacts = Artifacts(run.id, context_id)
    async with aclosing(run.updates()) as updates:
        async for update in updates:
            if run.missed:
                message = f"{run.missed:,} updates of the task {run.id} are no longer kept. Give the mesh a store"
                raise InternalError(message=message)
            if isinstance(update, OutputUpdate):
                yield update.sequence, artifacts.event(update)
                continue
            status = _status_of(update, run.id, context_id)
            event = a2a_pb2.TaskStatusUpdateEvent(task_id=run.id, context_id=context_id, status=status)
            yield update.sequence, event if status is not None else None


async def task_until(run: DetachedRun, record: RunRecord, context_id: str) -> a2a_pb2.Task:
    """The task as it was at a record of its run. Raises InternalError if its artifacts have more than 16 MiB."""
    task = new_task(record.run_id, context_id)
    if record.last_sequence == 0:
        return task
    async with aclosing(events_of(run, context_id)) as events:
        async for sequence, event in events:
            if sequence > record.last_sequence and not record.state.is_terminal:
                break
            add_event(task, event)
            if sequence >= record.last_sequence:
                break
    if record.state.is_terminal:
        task.status.state = state_of(record.state)
    return task


def new_task(task_id: str, context_id: str) -> a2a_pb2.Task:
    """A task that has begun."""
    status = a2a_pb2.TaskStatus(state=a2a_pb2.TASK_STATE_WORKING)
    status.timestamp.FromDatetime(datetime.now(UTC))
    return a2a_pb2.Task(id=task_id, context_id=context_id, status=status)


def add_event(task: a2a_pb2.Task, event: Event | None) -> None:
    """Applies an event to a task. Raises InternalError if its artifacts have more than 16 MiB."""
    if isinstance(event, a2a_pb2.TaskStatusUpdateEvent):
        task.status.CopyFrom(event.status)
    elif isinstance(event, a2a_pb2.TaskArtifactUpdateEvent):
        add_to_task(task, event)
        if task.ByteSize() > MAX_ARTIFACT_BYTES:
            raise InternalError(
                message=f"the outputs of task {task.id} exceed {MAX_ARTIFACT_BYTES:,} bytes, the limit of a task. Subscribe to "
                f"the task, or run `lanemesh show {task.id}`"
            )


def _status_of(update: Update, task_id: str, context_id: str) -> a2a_pb2.TaskStatus | None:
    if isinstance(update, JobUpdate):
        if not update.state.is_terminal:
            return None
        cause = update.error.message if update.error is not None else update.reason
        return _status(update, state_of(update.state), cause, task_id, context_id)
    message = _progress(update)
    return _status(update, a2a_pb2.TASK_STATE_WORKING, message, task_id, context_id) if message else None


def _status(update: Update, state: a2a_pb2.TaskState, text: str, task_id: str, context_id: str) -> a2a_pb2.TaskStatus:
    status = a2a_pb2.TaskStatus(state=state)
    status.timestamp.FromDatetime(update.time)
    if text:
        message = a2a_pb2.Message(
            message_id=f"{task_id}-{update.sequence}",
            task_id=task_id,
            context_id=context_id,
            role=a2a_pb2.ROLE_AGENT,
            parts=[a2a_pb2.Part(text=text[:MAX_MESSAGE])],
        )
        status.message.CopyFrom(message)
    return status


def _progress(update: Update) -> str:
    """What a status message has of an update; empty: nothing."""
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
