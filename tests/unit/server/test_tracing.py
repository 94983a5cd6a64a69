"""Traces: the summaries of values, and the counts of dropped reports."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lanemesh.items import ABSENT, Envelope, Group, LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.server.host import taps
from lanemesh.server.host.taps import TapLines, Traces
from lanemesh.summaries import summary
from lanemesh.v1 import update_pb2
from lanemesh.values import Answer, Document, Image, Media, Question, Table, Tags


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("hello", "hello"),
        ("x" * 300, "x" * 200),
        (Question("why?"), "why?"),
        (Question(""), ""),
        (Answer(text="so"), "so"),
        (Answer(data={"a": [1]}), '{"a": [1]}'),
        (Answer(finish_reason="stop"), ""),
        (Document("text"), "text"),
        (Document("", source="a.pdf", file=Media("application/pdf", b"12345")), "a.pdf: application/pdf, 5 bytes"),
        (Document("read", file=Media("application/pdf", b"12345")), "read"),
        (Table(("a", "b"), ((1, 2),)), "1 rows of a, b"),
        (Tags({"k": 1}), '{"k": 1}'),
        (Image("image/png", b"12345"), "image/png, 5 bytes"),
        (Image("image/png", uri="file:a.png"), "image/png, file:a.png"),
        ({"k": [None, 1]}, '{"k": [null, 1]}'),
        (None, "null"),
        ("\ud800", "?"),
    ],
)
def test_a_summary_describes_a_value(value: Any, told: str) -> None:
    assert summary(value) == told


def trace(number: int) -> update_pb2.Update:
    return update_pb2.Update(trace=update_pb2.TraceUpdate(edge_id="e", number=number, lane_type=LaneType.TEXT.wire))


def test_dropped_reports_are_counted_in_the_next_one_or_at_the_end() -> None:
    taken: list[update_pb2.Update] = []
    has_capacity = True

    def try_send(update: update_pb2.Update) -> bool:
        if has_capacity:
            taken.append(update)
        return has_capacity

    lines = TapLines(try_send)
    lines.report(trace(0))
    has_capacity = False
    lines.report(trace(1))
    lines.report(trace(2))
    has_capacity = True
    lines.report(trace(3))
    assert [(update.trace.number, update.trace.left_out) for update in taken] == [(0, 0), (3, 2)]
    has_capacity = False
    lines.report(trace(4))
    (rest,) = lines.rests()
    assert (rest.trace.edge_id, rest.trace.left_out, rest.trace.lane_type) == ("e", 1, 0)
    assert lines.rests() == []


async def test_traces_wait_up_to_a_bound_and_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "MAX_WAITING", 3)
    said: list[update_pb2.Update] = []

    async def send(update: update_pb2.Update) -> None:
        said.append(update)

    traces = Traces(update_pb2.TRACE_LEVEL_SUMMARY, {"e": LaneType.TEXT}, send)
    inbox = Inbox(["text"])
    inbox.tracing = traces.of
    edge = inbox.add_edge("e", "text")
    edge.put_plain(["0", "1"], 0)
    edge.put("2", 1, Envelope(group=Group("g", 2, last=True)))
    edge.put(ABSENT, 1, Envelope(group=Group("g", 3, last=True)))
    await traces.end()

    assert [(update.trace.number, update.trace.summary) for update in said[:3]] == [(0, "0"), (1, "1"), (2, "2")]
    assert said[2].trace.group.index == 2
    assert [(update.trace.left_out, update.trace.lane_type) for update in said[3:]] == [(1, 0)]
    assert edge.arrived == 4


async def test_a_large_item_is_not_reported_in_full() -> None:
    said: list[update_pb2.Update] = []

    async def send(update: update_pb2.Update) -> None:
        said.append(update)

    traces = Traces(update_pb2.TRACE_LEVEL_FULL, {"e": LaneType.TEXT}, send)
    tell = traces.of("e")
    tell(0, "small", 5, None)
    tell(1, "large", taps.MAX_ITEM_BYTES + 1, None)
    passing = asyncio.create_task(traces.pass_on())
    await traces.end()
    passing.cancel()
    assert [update.trace.HasField("item") for update in said] == [True, False]
