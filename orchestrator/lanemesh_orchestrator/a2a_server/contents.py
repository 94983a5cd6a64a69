"""A task as it is so far: its status, and its artifacts up to a limit."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from a2a.types import a2a_pb2
from lanemesh.client.detached import updates_until

from lanemesh_orchestrator.a2a_server.artifacts import OMITTED_BYTES, Artifacts
from lanemesh_orchestrator.a2a_server.events import STATES, Event, event_of

if TYPE_CHECKING:
    from lanemesh.client.detached import DetachedRun

MAX_CONTENT_BYTES = 16 * 1024 * 1024
"""Most bytes of the artifacts of one task that are collected."""
PIECE_BYTES = 64
"""What a piece of an artifact counts besides its content."""
ARTIFACT_BYTES = 256
"""What an artifact counts besides its pieces."""
OMITTED_OUTPUTS = "lanemesh/omittedOutputs"
"""Key in the metadata of a task or an artifact: how many outputs are left out, because they exceed a limit."""
MISSED_UPDATES = "lanemesh/missedUpdates"
"""Key in the metadata of a task: how many updates of the run, which may be outputs, are no longer kept."""


class TaskContents:
    """Collects one task from the updates of its run, in their order and each once. The time is proportional to their bytes."""

    def __init__(self, task_id: str, context_id: str) -> None:
        self.artifacts = Artifacts(task_id, context_id)
        """Makes the events of the artifacts."""
        self.sequence = 0
        """Number of the latest update that is collected."""
        self.size = 0
        """Bytes of what is collected."""
        self.reading = asyncio.Lock()
        """Held while updates are read into it."""
        self._task_id = task_id
        self._context_id = context_id
        self._status = a2a_pb2.TaskStatus(state=a2a_pb2.TASK_STATE_WORKING)
        self._status.timestamp.FromDatetime(datetime.now(UTC))
        self._collected: dict[str, _Artifact] = {}
        self._omitted = self._omitted_bytes = self._missed = 0

    @property
    def has_ended(self) -> bool:
        """Whether the terminal event is collected."""
        return self._status.state in STATES.values()

    async def read(self, run: DetachedRun, last: int) -> None:
        """Collects the kept updates of a run up to the number `last`. `run` is attached to the update after the latest one. An
        interrupted call can be made again."""
        missed = self._missed
        async with aclosing(updates_until(run, last)) as updates:
            async for update in updates:
                self.add(event_of(update, self.artifacts))
                self.sequence, self._missed = update.sequence, missed + run.missed
        self.sequence, self._missed = max(self.sequence, last), missed + run.missed

    def add(self, event: Event | None) -> None:
        """Applies an event. What exceeds the limit is counted and left out."""
        if isinstance(event, a2a_pb2.TaskStatusUpdateEvent):
            self._status = event.status
        elif isinstance(event, a2a_pb2.TaskArtifactUpdateEvent):
            self._add(event.artifact, append=event.append)

    def _add(self, given: a2a_pb2.Artifact, *, append: bool) -> None:
        known = self._collected.get(given.artifact_id)
        content = sum(part.ByteSize() for part in given.parts)
        size = content + PIECE_BYTES + (ARTIFACT_BYTES if known is None else 0)
        if (append and known is None) or (known is not None and known.omitted) or self.size + size > MAX_CONTENT_BYTES:
            self._omitted += 1
            self._omitted_bytes += content
            if known is not None:
                known.omitted += 1
            return
        if known is None:
            known = self._collected[given.artifact_id] = _Artifact(given.name)
        known.add(given.parts[0], content)
        self.size += size

    def task(self, most_bytes: int, state: a2a_pb2.TaskState | None = None) -> a2a_pb2.Task:
        """The task so far.

        Args:
            most_bytes: most bytes of its artifacts; further ones are left out. The metadata of the task has the number of these.
            state: its state, if that is known otherwise.
        """
        task = a2a_pb2.Task(id=self._task_id, context_id=self._context_id)
        task.status.CopyFrom(self._status)
        if state is not None:
            task.status.state = state
        omitted, omitted_bytes, size = self._omitted, self._omitted_bytes, 0
        for artifact_id, one in self._collected.items():
            if size + one.size + ARTIFACT_BYTES > most_bytes:
                omitted += one.pieces
                omitted_bytes += one.size
                continue
            size += one.size + ARTIFACT_BYTES
            task.artifacts.append(one.artifact(artifact_id))
        if omitted:
            task.metadata[OMITTED_OUTPUTS] = omitted
            task.metadata[OMITTED_BYTES] = omitted_bytes
        if self._missed:
            task.metadata[MISSED_UPDATES] = self._missed
        return task


class _Artifact:
    """One artifact that is collected piece by piece."""

    def __init__(self, name: str) -> None:
        self.size = self.pieces = self.omitted = 0
        self._name = name
        self._parts: list[a2a_pb2.Part | list[str]] = []
        """Its parts; the pieces of a text are put together at the end."""

    def add(self, part: a2a_pb2.Part, size: int) -> None:
        """Adds a piece. A text continues the text before it."""
        self.size += size
        self.pieces += 1
        if not part.HasField("text") or part.media_type or part.filename:
            self._parts.append(part)
        elif self._parts and isinstance(self._parts[-1], list):
            self._parts[-1].append(part.text)
        else:
            self._parts.append([part.text])

    def artifact(self, artifact_id: str) -> a2a_pb2.Artifact:
        """The artifact so far."""
        parts = [a2a_pb2.Part(text="".join(one)) if isinstance(one, list) else one for one in self._parts]
        made = a2a_pb2.Artifact(artifact_id=artifact_id, name=self._name, parts=parts)
        if self.omitted:
            made.metadata[OMITTED_OUTPUTS] = self.omitted
        return made
