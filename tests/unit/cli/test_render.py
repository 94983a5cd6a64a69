"""What a run shows beside its outputs, and how errors read."""

import logging
from typing import Any, cast

import pytest
from lanemesh.faults import Code, Fault
from lanemesh.v1 import control_pb2, lane_pb2, update_pb2
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode, RunFailed
from lanemesh_orchestrator.cli.output.errors import describe
from lanemesh_orchestrator.cli.output.printer import Printer
from lanemesh_orchestrator.cli.output.render import (
    delivered,
    delivered_items,
    edge_line,
    log_lines,
    mesh_line,
    node_line,
    timing_line,
    tool_lines,
)
from lanemesh_orchestrator.cli.output.run_view import TextView
from lanemesh_orchestrator.cli.output.stats import RunStats, places_of
from lanemesh_orchestrator.cli.output.streams import Streams

from unit.cli.updates import Page, output


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_mesh_line_names_the_process_of_each_component() -> None:
    placements = [
        update_pb2.Placement(component="chat_1", provider="chat", server="orchestrator", pid=1),
        update_pb2.Placement(component="llm_1", provider="llm_llamacpp", server="llm", address="127.0.0.1:7", pid=5121),
        update_pb2.Placement(component="llm_2", provider="llm_llamacpp", server="llm", address="127.0.0.1:7", pid=5121),
        update_pb2.Placement(component="text_1", provider="upper_case", server="text", address="10.0.0.3:7", pid=9),
    ]

    shown = mesh_line(placements, "127.0.0.1:41873")

    assert shown == "mesh   orchestrator 127.0.0.1:41873 · llm pid 5121 · text at 10.0.0.3:7 · chat in orchestrator"


def test_timing_counts_tokens_from_the_usage_and_the_rate_from_the_first_one() -> None:
    clock = Clock()
    stats = RunStats(clock)
    job = update_pb2.JobUpdate(state=update_pb2.RUN_STATE_RUNNING)
    clock.now = 10.0
    stats.take(update_pb2.Update(job=job))
    clock.now = 10.21
    stats.take(output(group="g", answer=lane_pb2.Answer(text="a")))
    clock.now = 11.9
    usage = lane_pb2.Usage(completion_tokens=61)
    stats.take(output(group="g", last=True, answer=lane_pb2.Answer(finish_reason="stop", usage=usage)))

    shown = timing_line(stats, update_pb2.RUN_STATE_COMPLETED)

    assert shown == "completed in 1.9 s · first token 0.21 s · 61 tokens · 36 tokens/s"
    assert delivered(stats) == "Delivered before that: 1 item by response_1."


def test_timing_without_usage_counts_items() -> None:
    clock = Clock()
    stats = RunStats(clock)
    stats.take(update_pb2.Update(job=update_pb2.JobUpdate(state=update_pb2.RUN_STATE_RUNNING)))
    clock.now = 0.5
    stats.take(output(text="a"))

    assert timing_line(stats, update_pb2.RUN_STATE_FAILED) == "failed after 0.50 s · first item 0.50 s · 1 item"
    assert timing_line(RunStats(), update_pb2.RUN_STATE_CANCELLED) == "cancelled after 0.00 s"
    assert delivered(RunStats()) == "Nothing was delivered before that."


def test_counted_outputs_are_described_as_those_that_were_seen() -> None:
    assert delivered_items(0) == delivered(RunStats())
    assert delivered_items(1) == "Delivered before that: 1 item."
    assert delivered_items(1_200) == "Delivered before that: 1,200 items."


def test_an_agents_doings_are_a_line_each_and_long_ones_are_cut() -> None:
    call = lane_pb2.ToolCall(id="1", name="add", arguments_json='{"a":1}')
    result = control_pb2.ToolResult(call_id="1", name="add", content_json='"three"')
    result.duration.FromMilliseconds(120)

    thought = tool_lines(update_pb2.ToolUpdate(component="agent_1", thought="x" * 5_000))
    assert thought.startswith("agent_1 thinks: xxx")
    assert "more characters" in thought
    assert len(thought) < 800
    assert tool_lines(update_pb2.ToolUpdate(component="agent_1", call=call)) == 'agent_1 calls add {"a": 1}'
    shown = tool_lines(update_pb2.ToolUpdate(component="agent_1", result=result))
    assert shown == "agent_1 · add answers: three (0.12 s)"


def test_every_line_of_a_log_has_its_component() -> None:
    log = update_pb2.LogUpdate(component="llm_1", level=update_pb2.LOG_LEVEL_WARNING, message="a\nb")

    assert log_lines(log) == "llm_1 warning: a\nllm_1 warning: b"


def test_a_skipped_node_is_shown_with_its_reason_and_others_are_not() -> None:
    skipped = update_pb2.NodeUpdate(component="a", state=update_pb2.NODE_STATE_SKIPPED, detail="`text` ended empty")

    assert node_line(skipped) == "a was skipped: `text` ended empty"
    assert node_line(update_pb2.NodeUpdate(component="a", state=update_pb2.NODE_STATE_COMPLETED)) == ""


def view(page: Page, **options: object) -> TextView:
    streams = cast("Streams", page)
    return TextView(streams, Printer(streams, {}), **options)  # type: ignore[arg-type]


def test_a_run_in_this_process_that_streams_nothing_shows_its_output_only() -> None:
    page, stats = Page(), RunStats()
    shown = view(page)
    for update in (
        update_pb2.Update(job=update_pb2.JobUpdate(state=update_pb2.RUN_STATE_RUNNING)),
        output(text="HELLO MESH"),
        update_pb2.Update(job=update_pb2.JobUpdate(state=update_pb2.RUN_STATE_COMPLETED)),
    ):
        stats.take(update)
        shown.show(update)
    shown.finish(stats, update_pb2.RUN_STATE_COMPLETED)

    assert page.text == "HELLO MESH\n"
    assert page.notes == []


def test_a_spread_run_shows_its_mesh_its_graph_and_its_timing() -> None:
    page, stats = Page(), RunStats()
    shown = view(page, orchestrator="127.0.0.1:1")
    placements = [
        update_pb2.Placement(component=name, provider=name[0], server="orchestrator") for name in ("a_1", "b_1")
    ]
    edge = update_pb2.EdgeShape(producer="a_1", consumer="b_1", input="text", lane_type=lane_pb2.LANE_TYPE_TEXT)
    job = update_pb2.JobUpdate(state=update_pb2.RUN_STATE_RUNNING, placements=placements, edges=[edge])
    for update in (update_pb2.Update(job=job), output(text="x")):
        stats.take(update)
        shown.show(update)
    shown.finish(stats, update_pb2.RUN_STATE_COMPLETED)

    assert page.notes[0] == "mesh   orchestrator 127.0.0.1:1 · a, b in orchestrator"
    assert page.notes[1] == "a_1 ─text→ b_1"
    assert page.notes[-1].startswith("completed in ")


def test_a_failed_run_shows_the_cause_the_frames_of_the_user_and_earlier_errors() -> None:
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "shout.py", line 12, in run\n'
        '    raise ValueError("too loud")\n'
        "ValueError: too loud\n"
    )
    details = {"component": "shout_1", "provider": "shout", "server": "text"}
    message = "ValueError: too loud"
    fault = Fault(code=Code.UNKNOWN, reason="node-error", message=message, details=details, traceback=traceback)

    text, code = describe(RunFailed(fault, "Delivered before that: 3 items by out_1."))

    assert code == ExitCode.FAILED
    assert text == (
        "shout_1 (shout, on text) failed: ValueError: too loud\n"
        '  File "shout.py", line 12, in run\n'
        '    raise ValueError("too loud")\n'
        "Delivered before that: 3 items by out_1. --log-level debug shows the steps before it."
    )
    assert describe(RunFailed(fault, "", embedded=True))[0].startswith("shout_1 (shout) failed: ")


def test_what_shows_more_is_not_named_to_who_sees_it_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fault = Fault(code=Code.UNKNOWN, reason="node-error", message="ValueError: too loud")

    text, _ = describe(RunFailed(fault, "Nothing was delivered before that."))

    assert text.endswith("Nothing was delivered before that.")


def test_other_errors_are_a_paragraph_with_an_exit_code() -> None:
    assert describe(CommandError("There is no file x.")) == ("There is no file x.", ExitCode.INVALID)
    gone = OSError(28, "No space left on device", "a.txt")
    assert describe(gone) == ("a.txt: No space left on device.", ExitCode.FAILED)
    text, code = describe(KeyError("x"))
    assert code == ExitCode.FAILED
    assert "--debug" in text


def test_failed_firings_of_a_node_are_shown_at_its_end() -> None:
    node = update_pb2.NodeUpdate(
        component="a", state=update_pb2.NODE_STATE_RUNNING, skipped_firings=1, retried_firings=3
    )
    assert node_line(node) == ""
    node.state = update_pb2.NODE_STATE_COMPLETED
    assert node_line(node) == "a skipped 1 failed firing, retried failed firings 3 times"


def test_the_growth_and_the_waits_of_an_edge_are_shown_once() -> None:
    edge = update_pb2.EdgeUpdate(edge_id="a.t>b.t", limit_items=32, growths=1)
    assert edge_line(edge, (0, "")) == "a.t>b.t: grown to 32 items"
    assert edge_line(edge, (1, "")) == ""
    edge.detail = "nothing has moved for 5 s"
    assert edge_line(edge, (1, "")) == "a.t>b.t: nothing has moved for 5 s"
    assert edge_line(edge, (1, edge.detail)) == ""


def test_the_detail_of_an_edge_is_shown_unless_quiet() -> None:
    edge = update_pb2.Update(edge=update_pb2.EdgeUpdate(edge_id="a.t>b.t", growths=1, detail="grown to 32 items"))
    for quiet, told in ((False, ["a.t>b.t: grown to 32 items"]), (True, [])):
        page = Page()
        streams = cast("Streams", page)
        view = TextView(streams, Printer(streams, {}), quiet=quiet)
        view.show(edge)
        view.show(edge)
        assert page.notes == told


def test_a_wait_of_an_edge_is_shown_once_though_items_arrive_between() -> None:
    page = Page()
    shown = view(page)
    waits = ["b waits for an item", "", "b waits for an item", "2 items wait for b", "", "31 items wait for b"]
    for consumed, detail in enumerate(waits):
        shown.show(update_pb2.Update(edge=update_pb2.EdgeUpdate(edge_id="a.t>b.t", consumed=consumed, detail=detail)))

    assert page.notes == ["a.t>b.t: b waits for an item", "a.t>b.t: 2 items wait for b"]


def test_a_run_that_delivers_nothing_ends_with_what_its_stores_took_and_where_they_are() -> None:
    components: list[dict[str, Any]] = [
        {"id": "embedding_1", "provider": "embedding_light"},
        {"id": "store_1", "provider": "sqlite_search", "config": {"path": "index.sqlite"}},
        {"id": "table_1", "provider": "table_writer", "config": {"path": "old.csv"}},
        {"id": "secret_1", "provider": "pgvector", "config": {"url": "${URL}", "path": "${WHERE}"}},
    ]
    page, clock = Page(), Clock()
    stats = RunStats(clock, places=places_of(components, {"table_1.path": "new.csv"}))
    edges = [
        update_pb2.EdgeShape(
            edge_id=f"embedding_1>{consumer}", producer="embedding_1", consumer=consumer, lane_type=lane
        )
        for consumer, lane in (
            ("store_1", lane_pb2.LANE_TYPE_DOCUMENTS),
            ("table_1", lane_pb2.LANE_TYPE_DATA),
            ("secret_1", lane_pb2.LANE_TYPE_TEXT),
            ("idle_1", lane_pb2.LANE_TYPE_TEXT),
        )
    ]
    edges.append(update_pb2.EdgeShape(edge_id="file_1>embedding_1", producer="file_1", consumer="embedding_1"))
    taken = {"store_1": 4, "table_1": 1, "secret_1": 1_000, "idle_1": 0, "embedding_1": 4}
    shown = view(page)
    for update in (
        update_pb2.Update(job=update_pb2.JobUpdate(state=update_pb2.RUN_STATE_RUNNING, edges=edges)),
        *(
            update_pb2.Update(edge=update_pb2.EdgeUpdate(edge_id=edge.edge_id, consumed=taken[edge.consumer]))
            for edge in edges
        ),
    ):
        stats.take(update)
        shown.show(update)
    clock.now = 1.5
    stats.take(update_pb2.Update(job=update_pb2.JobUpdate(state=update_pb2.RUN_STATE_COMPLETED)))
    shown.finish(stats, update_pb2.RUN_STATE_COMPLETED)

    assert page.notes == [
        "completed in 1.5 s · store_1 took 4 items (index.sqlite) · table_1 took 1 item (new.csv) · secret_1 took 1,000 pieces"
    ]
