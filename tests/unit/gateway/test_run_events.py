"""Updates as server-sent events."""

from __future__ import annotations

import json

from lanemesh.text_outputs import TextOutputs
from lanemesh_orchestrator.gateway.run_events import chunk_of
from lanemesh_orchestrator.gateway.sse import event
from lanemesh_orchestrator.update_json import to_json

TEXTS = ["plain", "", "two\nlines\r\n", 'a "quote" \\', "é \u2028 😀", "id: 7\n\ndata: x", "\x00\x1f"]


def test_text_outputs_are_written_as_their_updates_are() -> None:
    outputs = TextOutputs('out"1', "text", TEXTS, first=41, time=1_700_000_000_123_456_789)

    written = chunk_of([outputs])

    assert written == chunk_of(list(outputs.updates()))
    assert written == b"".join(event(to_json(update), id=update.sequence) for update in outputs.updates())


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
