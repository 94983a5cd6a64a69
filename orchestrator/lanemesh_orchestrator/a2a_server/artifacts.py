"""The outputs of a run as artifacts of a task."""

from __future__ import annotations

from typing import Any

from a2a.types import a2a_pb2
from google.protobuf.json_format import ParseDict, ParseError
from lanemesh.client.updates import OutputUpdate
from lanemesh.codec import dump_json
from lanemesh.values import Answer, Document, Media, Question, Table, copy_json

MAX_ARTIFACT_BYTES = 16 * 1024 * 1024
"""Most bytes of the artifacts of one task that are collected."""


class Artifacts:
    """Makes the events of artifacts from the outputs of one run, in order. The pieces of one text are chunks of one artifact; every
    other output is an artifact of its own."""

    def __init__(self, task_id: str, context_id: str) -> None:
        self._task_id = task_id
        self._context_id = context_id
        self._count = 0
        self._open: dict[tuple[str, str, str], str] = {}

    def event(self, output: OutputUpdate) -> a2a_pb2.TaskArtifactUpdateEvent:
        """The event of an output."""
        group = output.group
        key = (output.component, output.port, group.id if group is not None else "")
        known = self._open.get(key) if group is not None else None
        artifact_id = known or self._next(output)
        is_last = group is None or group.last
        if is_last:
            self._open.pop(key, None)
        else:
            self._open[key] = artifact_id
        artifact = a2a_pb2.Artifact(artifact_id=artifact_id, name=output.component, parts=[part_of(output.value)])
        return a2a_pb2.TaskArtifactUpdateEvent(
            task_id=self._task_id,
            context_id=self._context_id,
            artifact=artifact,
            append=known is not None,
            last_chunk=is_last,
        )

    def _next(self, output: OutputUpdate) -> str:
        self._count += 1
        return f"{output.component}.{output.port}.{self._count}"


def add_to_task(task: a2a_pb2.Task, event: a2a_pb2.TaskArtifactUpdateEvent) -> None:
    """Adds the artifact of an event to a task. Text is appended to the text before it."""
    if not event.append:
        task.artifacts.append(event.artifact)
        return
    for artifact in reversed(task.artifacts):
        if artifact.artifact_id == event.artifact.artifact_id:
            for part in event.artifact.parts:
                if part.HasField("text") and artifact.parts and artifact.parts[-1].HasField("text"):
                    artifact.parts[-1].text += part.text
                else:
                    artifact.parts.append(part)
            return


def part_of(value: Any) -> a2a_pb2.Part:
    """A value of a run as a part of a message or an artifact."""
    match value:
        case str():
            return a2a_pb2.Part(text=value)
        case Answer() if value.data is None:
            return a2a_pb2.Part(text=value.text)
        case Answer():
            return _data(copy_json(value.data))
        case Question():
            return a2a_pb2.Part(text=value.text)
        case Document():
            return a2a_pb2.Part(text=value.content, filename=value.source)
        case Media() if value.content:
            return a2a_pb2.Part(raw=value.content, media_type=value.mime_type)
        case Media():
            return a2a_pb2.Part(url=value.uri, media_type=value.mime_type)
        case Table():
            return _data([dict(zip(value.columns, row, strict=True)) for row in value.rows])
    return _data(copy_json(value))


def _data(value: Any) -> a2a_pb2.Part:
    part = a2a_pb2.Part(media_type="application/json")
    try:
        ParseDict(value, part.data)
    except ParseError:  # it is nested deeper than a `Value` may be
        return a2a_pb2.Part(text=dump_json(value), media_type="application/json")
    return part
