"""Records of ended runs, and traces of their items; embedded, spread, and through a client."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

import pytest
from lanemesh.client.run_host import RunHost
from lanemesh.client.run_reader import wire_updates
from lanemesh.client.updates import RunState
from lanemesh.faults import LanemeshError
from lanemesh.v1 import update_pb2

from rigs.runs import line, node, pipeline, response

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("a", "tag", "chat", mark="+")) | {"name": "tagging"}
FAIL = line(node("a", "fail", "chat"))


async def traces(host: RunHost, level: str) -> list[update_pb2.TraceUpdate]:
    """The traces of the items of a run with one input."""
    run = host.run(TAG, input="x" * 300, trace=level)  # type: ignore[arg-type]
    return [update.trace async for update in wire_updates(run) if update.WhichOneof("kind") == "trace"]


async def test_a_record_has_the_result_of_a_run(host: RunHost) -> None:
    run = await host.start(TAG, inputs=["1", "2"])
    await run.result()

    record = await host.record(run.id)
    assert (record.run_id, record.name, record.state) == (run.id, "tagging", "completed")
    assert (record.output_count, record.detached) == (2, True)
    assert record.started_at is not None
    assert record.ended_at is not None
    assert record.created_at <= record.started_at <= record.ended_at
    assert record.duration == (record.ended_at - record.created_at).total_seconds()
    assert record.created_at.tzinfo is UTC
    assert '"tagging"' in record.pipeline_json
    assert await host.runs(limit=1) == [replace(record, pipeline_json="", placements=())]
    assert [update.sequence async for update in wire_updates(run)][-1] == record.last_sequence


async def test_a_record_of_a_failed_run_has_its_error(host: RunHost) -> None:
    run = await host.start(FAIL, input="bad")
    await run.result()
    record = await host.record(run.id)
    assert (record.state, record.error) == ("failed", (await run.result()).error)


async def test_runs_are_listed_the_latest_first(host: RunHost) -> None:
    ids = []
    for document, given in ((TAG, "1"), (FAIL, "bad"), (TAG, "2")):
        run = await host.start(document, input=given)
        await run.result()
        ids.append(run.id)

    assert [record.run_id for record in await host.runs(limit=3)] == ids[::-1]
    assert [record.run_id for record in await host.runs(limit=1)] == ids[-1:]
    for states in (["failed"], [RunState.FAILED, "cancelled"]):
        assert [record.run_id for record in await host.runs(limit=1, states=states)] == [ids[1]]
    assert await host.runs(deployment="nothing") == []
    with pytest.raises(ValueError, match="starting, running, completed, failed, cancelled, not 'failing'"):
        await host.runs(states=["failing"])
    with pytest.raises(TypeError, match=r"states=\['failed'\]"):
        await host.runs(states="failed")


async def test_an_unknown_run_is_reported(host: RunHost) -> None:
    with pytest.raises(LanemeshError, match='no run "run-0"'):
        await host.record("run-0")


async def test_a_trace_reports_every_item_at_its_level(host: RunHost) -> None:
    by_level = {level: await traces(host, level) for level in ("none", "metadata", "summary", "full")}

    assert by_level["none"] == []
    for level in ("metadata", "summary", "full"):
        assert sorted((trace.edge_id, trace.number) for trace in by_level[level]) == [
            ("a.tagged>out.text", 0),
            ("chat.text>a.text", 0),
        ]
        assert all(trace.size_bytes >= 300 and not trace.left_out for trace in by_level[level])
    assert all(not trace.summary and not trace.HasField("item") for trace in by_level["metadata"])
    assert all(len(trace.summary) == 200 and not trace.HasField("item") for trace in by_level["summary"])
    assert sorted(trace.item.text for trace in by_level["full"]) == ["+" + "x" * 300, "x" * 300]


async def test_a_pipeline_can_set_the_trace_level(host: RunHost) -> None:
    run = host.run(TAG | {"trace": "metadata"}, inputs=["1", "2"])
    told = [update.trace async for update in wire_updates(run) if update.WhichOneof("kind") == "trace"]
    assert sorted((trace.edge_id, trace.number) for trace in told) == [
        (edge, number) for edge in ("a.tagged>out.text", "chat.text>a.text") for number in (0, 1)
    ]


async def test_many_items_are_reported_or_counted(host: RunHost) -> None:
    count = 5_000
    run = host.run(pipeline(node("a", "numbers", count=count), response("a")), trace="metadata")
    told = [update.trace async for update in wire_updates(run) if update.WhichOneof("kind") == "trace"]
    for edge in {trace.edge_id for trace in told}:
        of_edge = [trace for trace in told if trace.edge_id == edge]
        items = sum(trace.left_out + (trace.lane_type != 0) for trace in of_edge)
        assert items == count
        numbers = [trace.number for trace in of_edge if trace.lane_type]
        assert numbers == sorted(set(numbers))
