"""The outputs of a run as artifacts of a task."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from a2a.types import a2a_pb2
from google.protobuf.json_format import ParseDict, ParseError
from lanemesh.client.updates import OutputUpdate
from lanemesh.json_text import dump_json
from lanemesh.json_values import copy_json
from lanemesh.values import Answer, Document, Media, Question, Table

MAX_OPEN = 10_000
"""Most unfinished texts of a run that are kept in mind. The pieces of an older one are taken for continuations."""
OMITTED_BYTES = "lanemesh/omittedBytes"
"""Key in the metadata of a task or a part: how many bytes are left out, because they exceed a limit."""


class Artifacts:
    """Makes the events of artifacts from the outputs of one run, in order. The pieces of one text are chunks of one artifact; every
    other output is an artifact of its own. The id of an artifact depends on its output alone, so every reader of a run has the same
    ids, wherever it begins."""

    def __init__(self, task_id: str, context_id: str) -> None:
        self.task_id = task_id
        """The id of the task."""
        self.context_id = context_id
        """The id of its context."""
        self._open: OrderedDict[str, None] = OrderedDict()
        self._forgot = False

    def event(self, output: OutputUpdate) -> a2a_pb2.TaskArtifactUpdateEvent:
        """The event of an output."""
        group = output.group
        whole = group.id if group is not None else str(output.sequence)
        artifact_id = f"{output.component}.{output.port}.{whole}"
        append = artifact_id in self._open or (group is not None and self._forgot and group.index > 0)
        is_last = group is None or group.last
        if is_last:
            self._open.pop(artifact_id, None)
        else:
            self._open[artifact_id] = None
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
                self._forgot = True
        artifact = a2a_pb2.Artifact(artifact_id=artifact_id, name=output.component, parts=[part_of(output.value)])
        return a2a_pb2.TaskArtifactUpdateEvent(
            task_id=self.task_id,
            context_id=self.context_id,
            artifact=artifact,
            append=append,
            last_chunk=is_last,
        )


def within(event: a2a_pb2.TaskArtifactUpdateEvent, most_bytes: int) -> Iterator[a2a_pb2.TaskArtifactUpdateEvent]:
    """An event as events that each have at most so many bytes: a text in chunks. Instead of another content that is larger, a text
    names its size and where it is."""
    if event.ByteSize() <= most_bytes:
        yield event
        return
    (part,) = event.artifact.parts
    if not part.HasField("text"):
        size = part.ByteSize()
        text = f"An output of {size:,} bytes is left out, because it exceeds a message. `lanemesh show {event.task_id}` has it"
        part.CopyFrom(a2a_pb2.Part(text=text))
        part.metadata[OMITTED_BYTES] = size
        yield event
        return
    text, characters = part.text, most_bytes // 8  # a character has up to 4 bytes
    for start in range(0, len(text), characters):
        chunk = a2a_pb2.Part(text=text[start : start + characters])
        yield a2a_pb2.TaskArtifactUpdateEvent(
            task_id=event.task_id,
            context_id=event.context_id,
            artifact=a2a_pb2.Artifact(artifact_id=event.artifact.artifact_id, name=event.artifact.name, parts=[chunk]),
            append=event.append or start > 0,
            last_chunk=event.last_chunk and start + characters >= len(text),
        )


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
        case Document(file=Media(content=content) as file) if content and not value.content:
            return a2a_pb2.Part(raw=content, media_type=file.mime_type, filename=value.source)
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
