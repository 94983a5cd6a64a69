"""What `--watch` draws: the model that updates make, and its lines."""

from __future__ import annotations

import asyncio
from io import StringIO
from itertools import pairwise
from typing import Any, cast

import pytest
from lanemesh.v1 import fault_pb2, lane_pb2, update_pb2
from lanemesh_orchestrator.cli.output.live_drawing import draw_live_model
from lanemesh_orchestrator.cli.output.live_model import LiveModel, Tail, chosen, in_order
from lanemesh_orchestrator.cli.output.live_view import MAX_NOTES, WatchView, why_not
from lanemesh_orchestrator.cli.output.printer import Printer
from lanemesh_orchestrator.cli.output.stats import RunStats
from lanemesh_orchestrator.cli.output.streams import Streams
from rich.console import Console

from unit.cli.updates import Page, output

RUNNING, COMPLETED, FAILED = (
    update_pb2.NODE_STATE_RUNNING,
    update_pb2.NODE_STATE_COMPLETED,
    update_pb2.NODE_STATE_FAILED,
)


def shape(producer: str, consumer: str, class_type: str = "") -> update_pb2.EdgeShape:
    lane_type = lane_pb2.LANE_TYPE_UNSPECIFIED if class_type else lane_pb2.LANE_TYPE_TEXT
    name = "" if class_type else f"{producer}>{consumer}"
    return update_pb2.EdgeShape(
        edge_id=name, producer=producer, consumer=consumer, lane_type=lane_type, class_type=class_type
    )


def running(*edges: update_pb2.EdgeShape) -> update_pb2.Update:
    """The run is running, with the components of these edges."""
    names = sorted({name for edge in edges for name in (edge.producer, edge.consumer)})
    places = [update_pb2.Placement(component=name, provider=f"kind_{name}", server="orchestrator") for name in names]
    job = update_pb2.JobUpdate(run_id="r", state=update_pb2.RUN_STATE_RUNNING, placements=places, edges=edges)
    return update_pb2.Update(job=job)


def node(component: str, state: update_pb2.NodeState.ValueType, **more: Any) -> update_pb2.Update:
    return update_pb2.Update(node=update_pb2.NodeUpdate(component=component, state=state, **more))


def edge(name: str, **more: Any) -> update_pb2.Update:
    return update_pb2.Update(edge=update_pb2.EdgeUpdate(edge_id=name, **more))


def modelled(*updates: update_pb2.Update) -> LiveModel:
    model = LiveModel()
    for update in updates:
        model.take(update)
    return model


def drawn(model: LiveModel, tail: Tail | None = None, *, width: int = 80, height: int = 24, final: bool = False) -> str:
    """The picture as a terminal without colours shows it."""
    page = StringIO()
    console = Console(file=page, width=width, height=height, color_system=None, force_terminal=True)
    console.print(draw_live_model(model, tail or Tail(), "x.pipe · running", width=width, height=height, final=final))
    return page.getvalue()


LINE = running(shape("z_chat", "m_node"), shape("m_node", "a_out"))


def test_nodes_come_in_the_order_of_the_flow_and_helpers_after_their_invoker() -> None:
    assert list(modelled(LINE).nodes) == ["z_chat", "m_node", "a_out"]
    assert in_order(["llm", "agent"], [shape("agent", "llm", "llm")]) == ["agent", "llm"]
    assert in_order(["a", "b"], [shape("a", "b"), shape("b", "a")]) == ["a", "b"]  # whatever comes, it ends


def test_updates_before_the_layout_of_the_run_are_kept() -> None:
    model = modelled(node("m_node", update_pb2.NODE_STATE_STARTING, detail="loads"), LINE)
    assert model.nodes["m_node"].latest.detail == "loads"
    assert model.nodes["m_node"].provider == "kind_m_node"


def test_the_latest_word_counts() -> None:
    model = modelled(
        LINE,
        edge("z_chat>m_node", sent=4, buffered=3, limit_items=4),
        edge("z_chat>m_node", sent=9, buffered=2, limit_items=4),
        edge("nobody>knows", sent=1),
        update_pb2.Update(progress=update_pb2.ProgressUpdate(component="m_node", done=1, total=2)),
        update_pb2.Update(progress=update_pb2.ProgressUpdate(component="m_node", done=2, total=2)),
        node("m_node", COMPLETED, firings=9),
    )
    (only,) = model.nodes["m_node"].inputs
    assert (only.latest.sent, only.fill) == (9, 0.5)
    assert model.nodes["m_node"].progress is not None
    assert model.nodes["m_node"].progress.done == 2
    assert model.nodes["m_node"].latest.firings == 9
    assert model.nodes["m_node"].ended


def test_a_line_shows_the_activity_of_a_node_and_the_fill_of_its_inputs() -> None:
    model = modelled(
        LINE,
        node("z_chat", COMPLETED, firings=1),
        node("m_node", RUNNING),
        edge("z_chat>m_node", sent=1234, buffered=5, limit_items=10),
        edge("m_node>a_out", sent=1200, limit_items=20, growths=1, detail="grown to 20 items"),
        update_pb2.Update(progress=update_pb2.ProgressUpdate(component="m_node", done=3, total=4, message="reading")),
    )
    lines = [line.rstrip() for line in drawn(model).splitlines()]
    assert lines == [
        "x.pipe · running",
        "  node     firings  from              items  waiting",
        "✓ z_chat         1",
        "● m_node            z_chat text       1,234  █████····· 5 of 10",
        "    ━━━━━━━━━━━━━━━····· 75%  reading",
        "· a_out             m_node text       1,200  grown to 20",
        "    grown to 20 items",
    ]


def test_a_failed_node_and_failed_firings_are_shown() -> None:
    error = fault_pb2.Fault(code=2, message="ValueError: no\nmore")
    text = drawn(modelled(LINE, node("m_node", FAILED, error=error), node("a_out", COMPLETED, skipped_firings=2)))
    assert "✗ m_node" in text
    assert "ValueError: no\n" in text
    assert "more" not in text
    assert "skipped 2 failed firings" in text


def test_helpers_show_whose_they_are() -> None:
    assert "⇢ llm of agent" in drawn(modelled(running(shape("agent", "model", "llm"))))


def test_wide_terminals_show_node_types_and_servers_narrow_ones_do_not() -> None:
    model = modelled(LINE)
    model.nodes["m_node"].server = "text"
    wide, narrow = drawn(model, width=120), drawn(model, width=80)
    assert "kind_m_node" in wide
    assert "orchestrator" in wide
    assert "kind_m_node" not in narrow


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 10)])
def test_fifty_nodes_fit_and_those_that_need_attention_come_first(width: int, height: int) -> None:
    names = [f"node_{number:02}" for number in range(50)]
    model = modelled(running(*(shape(a, b) for a, b in pairwise(names))))
    for name in names:
        model.take(node(name, COMPLETED if name < "node_25" else RUNNING))
    model.take(node("node_49", FAILED, error=fault_pb2.Fault(code=2, message="no")))
    tail = Tail()
    tail.add("".join(f"line {number}\n" for number in range(100)))

    lines = drawn(model, tail, width=width, height=height).splitlines()

    assert len(lines) < height
    assert all(len(line) <= width for line in lines)
    assert any("✗ node_49" in line for line in lines)
    assert any("more: 25 completed" in line for line in lines)
    assert lines[-1].strip() == "line 99"
    final = drawn(model, tail, width=width, height=height, final=True)
    assert all(name in final for name in names)
    assert "line 99" not in final


def test_at_least_one_node_is_chosen() -> None:
    nodes = list(modelled(LINE).nodes.values())
    assert [one.component for one in chosen(nodes, [3, 3, 3], 0)] == ["z_chat"]
    assert [one.component for one in chosen(nodes, [1, 1, 1], 2)] == ["z_chat", "m_node"]


def test_the_tail_keeps_the_end_within_its_bounds() -> None:
    tail = Tail(max_lines=3, max_characters=100)
    tail.add("a\nb\nc\nd\nop")
    tail.add("en")
    assert (tail.text, tail.dropped) == ("b\nc\nd\nopen", 1)
    assert tail.last(2) == ["d", "open"]
    tail.add("x" * 1_000)
    assert len(tail.text) <= 206
    for _ in range(1_000):
        tail.add("y" * 60 + "\n")
    assert len(tail.text) <= 200


def test_output_is_shown_as_it_can_be_printed() -> None:
    tail = Tail()
    tail.add("\x1b[31mred\x07\tand 日本語" * 3)
    lines = drawn(modelled(LINE), tail, width=40).splitlines()
    assert "\x1b" not in lines[-1]
    assert "\x07" not in "".join(lines)
    assert "日本語" in "".join(lines)


class Terminal(Page):
    """A terminal that remembers, and may be behind."""

    def __init__(self, *, out_is_terminal: bool) -> None:
        super().__init__()
        self.painted = ""
        self.behind = False
        self.out_is_terminal = out_is_terminal

    def paint(self, text: str) -> None:
        self.painted += text


def view_on(terminal: Terminal, stats: RunStats) -> WatchView:
    return WatchView(cast("Streams", terminal), lambda pane: Printer(pane, {}), stats, name="x.pipe", log_level=30)


@pytest.mark.parametrize("out_is_terminal", [True, False])
async def test_outputs_are_printed_at_the_end_on_a_terminal_and_as_they_come_elsewhere(out_is_terminal: bool) -> None:
    terminal, stats = Terminal(out_is_terminal=out_is_terminal), RunStats()
    view = view_on(terminal, stats)
    for update in (LINE, output("a_out", text="first"), output("a_out", text="second")):
        stats.take(update)
        view.show(update)
    assert terminal.text == ("" if out_is_terminal else "first\nsecond\n")
    end = update_pb2.Update(job=update_pb2.JobUpdate(state=update_pb2.RUN_STATE_COMPLETED))
    view.show(end)
    view.finish(stats, update_pb2.RUN_STATE_COMPLETED)
    assert terminal.text == "first\nsecond\n"
    assert "x.pipe · completed in" in terminal.painted


async def test_frames_come_at_most_ten_times_a_second_and_none_while_the_terminal_is_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, stats = Terminal(out_is_terminal=True), RunStats()
    view = view_on(terminal, stats)
    view.show(LINE)
    first = len(terminal.painted)
    for number in range(1_000):
        view.show(edge("z_chat>m_node", sent=number))
    assert len(terminal.painted) == first  # all of that is one frame
    terminal.behind = True
    await asyncio.sleep(0.25)  # there is no event for the absence of a drawing
    assert len(terminal.painted) == first
    terminal.behind = False
    async with asyncio.timeout(5):
        while "999" not in terminal.painted:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
    view.finish(stats, update_pb2.RUN_STATE_COMPLETED)


async def test_logs_come_above_and_a_flood_of_them_is_counted() -> None:
    terminal, stats = Terminal(out_is_terminal=True), RunStats()
    view = view_on(terminal, stats)
    view.show(LINE)
    for number in range(MAX_NOTES + 7):
        view.note(f"note {number}")
    view.show(
        update_pb2.Update(log=update_pb2.LogUpdate(component="a", level=update_pb2.LOG_LEVEL_DEBUG, message="hidden"))
    )
    view.finish(stats, update_pb2.RUN_STATE_COMPLETED)
    assert "… 7 lines are omitted" in terminal.painted
    assert "note 6\n" not in terminal.painted
    assert f"note {MAX_NOTES + 6}" in terminal.painted
    assert "hidden" not in terminal.painted


def test_the_reason_is_shown_where_nothing_can_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not(typed=False) == "standard error is not a terminal"
    monkeypatch.setattr("lanemesh_orchestrator.cli.output.live_view.is_terminal", lambda stream: True)
    monkeypatch.setenv("TERM", "xterm")
    assert why_not(typed=False) == ""
    assert "typed on the same terminal" in why_not(typed=True)
    monkeypatch.setenv("TERM", "dumb")
    assert "TERM=dumb" in why_not(typed=False)


@pytest.mark.parametrize("out_is_terminal", [True, False])
async def test_media_is_described_on_the_terminal(out_is_terminal: bool) -> None:
    terminal, stats = Terminal(out_is_terminal=out_is_terminal), RunStats()
    view = view_on(terminal, stats)
    view.show(LINE)
    view.show(output("a_out", image=lane_pb2.Media(mime_type="image/png", content=b"123")))
    view.finish(stats, update_pb2.RUN_STATE_COMPLETED)
    told = "<image/png, 3 bytes: use --output a_out=FILE>"
    assert told in (terminal.text if out_is_terminal else terminal.painted)
    assert terminal.text == (f"{told}\n" if out_is_terminal else "")


def test_a_helper_is_drawn_with_what_it_does() -> None:
    wired = running(shape("asker", "model", "llm"))
    assert "idle" in drawn(modelled(wired))

    calls = update_pb2.HelperUpdate(component="model", calls=3, active_calls=1, failed_calls=1)
    calls.usage.prompt_tokens, calls.usage.completion_tokens = 1200, 48
    picture = drawn(modelled(wired, update_pb2.Update(helper=calls)))
    assert "answering 1, 3 calls, 1 failed, 1,200 tokens in, 48 tokens out" in picture
    assert "● model" in picture


def test_only_the_node_that_failed_first_is_marked_as_failed() -> None:
    first = fault_pb2.Fault(message="a bad word")
    later = fault_pb2.Fault(message="a bad word", secondary=True)
    model = modelled(LINE, node("m_node", FAILED, error=first), node("a_out", FAILED, error=later))

    picture = drawn(model)
    assert picture.count("✗") == 1
    assert "✗ m_node" in picture
    assert "ended by: a bad word" in picture
