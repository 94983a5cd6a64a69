"""Updates as server-sent events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lanemesh.text_outputs import TextOutputs
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.gateway.event_chunks import chunk_of
from lanemesh_orchestrator.gateway.sse import event
from lanemesh_orchestrator.update_json import to_json

TEXTS = ["plain", "", "two\nlines\r\n", 'a "quote" \\', "é \u2028 😀", "id: 7\n\ndata: x", "\x00\x1f"]


KINDS: dict[str, Any] = {"job": update_pb2.JobUpdate, "node": update_pb2.NodeUpdate, "edge": update_pb2.EdgeUpdate}
FIELDS = [(kind, field) for kind, message in KINDS.items() for field in message.DESCRIPTOR.fields]


@pytest.mark.parametrize("name", ["", 'the "result"'])
def test_text_outputs_are_written_as_their_updates_are(name: str) -> None:
    outputs = TextOutputs('out"1', "text", TEXTS, first=41, time=1_700_000_000_123_456_789, name=name)

    written = chunk_of([outputs])

    assert written == chunk_of(list(outputs.updates()))
    assert written == b"".join(event(to_json(update), id=update.sequence) for update in outputs.updates())


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=lambda each: getattr(each, "full_name", each))
def test_each_field_of_a_state_is_written_as_in_its_update(kind: str, field: Any) -> None:
    update = update_pb2.Update(sequence=7)
    update.time.seconds, update.time.nanos = 1_700_000_000, 120_000_000
    of_kind = getattr(update, kind)
    if field.message_type is None:
        setattr(of_kind, field.name, 'a "b"\n' if field.type == field.TYPE_STRING else 1)
    elif field.is_repeated:
        getattr(of_kind, field.name).add()
    elif field.message_type.name == "Duration":
        getattr(of_kind, field.name).nanos = 1_234_567
    else:
        getattr(of_kind, field.name).SetInParent()

    assert chunk_of([update]) == event(to_json(update), id=7)
    of_kind.SetInParent()
    assert chunk_of([update, update]) == 2 * event(to_json(update), id=7)


def test_a_running_run_is_written_as_its_update_is() -> None:
    """Of two runs that differ in one placement and in the kind of an edge, each has its own."""
    update = update_pb2.Update(sequence=3)
    job = update.job
    job.run_id, job.state, job.input_count = 'run "1"', update_pb2.RUN_STATE_RUNNING, 2
    job.placements.add(component="a", provider="chat", server="é", pid=7)
    job.placements.add(component="b", provider="llm", server="gpu", address="10.0.0.1:1", pid=8).earlier.add(
        server="old"
    )
    job.edges.add(edge_id="e", producer="a", output="text", consumer="b", input="text", lane_type=1)
    job.inputs.add(port="text", lane_type=1, size_bytes=3, summary="a\nb")
    job.inputs.add(lane_type=1)
    other = update_pb2.Update()
    other.CopyFrom(update)
    other.job.placements[1].pid = 9
    other.job.edges[0].class_type = "llm"

    assert chunk_of([update, other]) == event(to_json(update), id=3) + event(to_json(other), id=3)


def test_an_event_is_one_line_of_data_whatever_the_text() -> None:
    written = chunk_of([TextOutputs("out", "text", TEXTS, first=1)]).decode()

    whole = written.split("\n\n")
    assert whole.pop() == ""
    for number, (text, one) in enumerate(zip(TEXTS, whole, strict=True), 1):
        head, data = one.split("\n")
        assert head == f"id: {number}"
        assert json.loads(data.removeprefix("data: "))["value"] == text


def test_half_of_a_surrogate_pair_is_an_escape() -> None:
    assert event({"a": "\ud800é"}) == b'data: {"a":"\\ud800\\u00e9"}\n\n'
