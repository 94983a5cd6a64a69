"""The updates of a run as events of a task."""

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

if TYPE_CHECKING:
    from lanemesh.client.detached import DetachedRun

    from lanemesh_orchestrator.a2a_server.artifacts import Artifacts

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


async def events_of(run: DetachedRun, artifacts: Artifacts) -> AsyncGenerator[Event, None]:
    """The events of a task from the first requested update of its run on. The terminal event is the last."""
    async with aclosing(run.updates()) as updates:
        async for update in updates:
            if run.missed:
                message = f"{run.missed:,} updates of the task {run.id} are no longer kept. Give the mesh a store"
                raise InternalError(message=message)
            event = event_of(update, artifacts)
            if event is not None:
                yield event


def event_of(update: Update, artifacts: Artifacts) -> Event | None:
    """An update as an event; None if it is none."""
    if isinstance(update, OutputUpdate):
        return artifacts.event(update)
    task_id, context_id = artifacts.task_id, artifacts.context_id
    status = _status_of(update, task_id, context_id)
    if status is None:
        return None
    return a2a_pb2.TaskStatusUpdateEvent(task_id=task_id, context_id=context_id, status=status)


def new_task(task_id: str, context_id: str) -> a2a_pb2.Task:
    """A task that has begun."""
    status = a2a_pb2.TaskStatus(state=a2a_pb2.TASK_STATE_WORKING)
    status.timestamp.FromDatetime(datetime.now(UTC))
    return a2a_pb2.Task(id=task_id, context_id=context_id, status=status)


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
