"""Updates as events of AG-UI, and the rules of their order."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from ag_ui.core import BaseEvent, RunAgentInput
from lanemesh.client.updates import (
    ApprovalState,
    ApprovalUpdate,
    HelperUpdate,
    JobUpdate,
    LogLevel,
    LogUpdate,
    NodeState,
    NodeUpdate,
    OutputUpdate,
    ProgressUpdate,
    RunState,
    ThoughtUpdate,
    ToolCallUpdate,
    ToolProgressUpdate,
    ToolResultUpdate,
    Update,
)
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import Group
from lanemesh.values import Answer, ToolCall, Usage
from lanemesh_orchestrator.gateway.agui.events import AgentEvents
from lanemesh_orchestrator.gateway.agui.interrupts import InterruptId

from rigs.agui_rules import check_events

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Made = Callable[[int], Update]


def made(kind: Any, **fields: Any) -> Made:
    """An update without its number."""
    return lambda sequence: kind(sequence=sequence, time=NOW, **fields)


def output(value: Any, lane: str = "text", *, last: bool = False, group: str = "g") -> Made:
    return made(OutputUpdate, component="out", port="in", lane=lane, value=value, group=Group(group, 0, last=last))


def job(state: RunState, **fields: Any) -> Made:
    return made(JobUpdate, run_id="run-1", state=state, **fields)


def state(name: NodeState, component: str = "agent") -> Made:
    return made(NodeUpdate, component=component, state=name)


def call(wave: int = 1) -> Made:
    return made(ToolCallUpdate, component="agent", wave=wave, call=ToolCall("c", "add", '{"a": 1}'))


def result(wave: int = 1) -> Made:
    return made(ToolResultUpdate, component="agent", wave=wave, call_id="c", name="add", content="1")


def approval(kind: ApprovalState) -> Made:
    return made(ApprovalUpdate, component="agent", call_id="c", state=kind, tool="add", arguments='{"a": 1}')


DONE = job(RunState.COMPLETED)


def numbered(*updates: Made) -> list[Update]:
    return [update(number) for number, update in enumerate(updates, 1)]


def events(**fields: Any) -> AgentEvents:
    given = {"threadId": "t", "runId": "r", "messages": [], **fields}
    return AgentEvents(RunAgentInput.model_validate(given), "run-1")


def plain(found: Sequence[BaseEvent]) -> list[dict[str, Any]]:
    return [json.loads(event.model_dump_json(by_alias=True)) for event in found]


def read(*updates: Made, whole: bool = True, **fields: Any) -> list[dict[str, Any]]:
    """The events of a run, which follow the rules."""
    reader = events(**fields)
    found = plain([*reader.start(), *reader.read(numbered(*updates))])
    check_events(found, whole=whole)
    return found


def types(found: Sequence[dict[str, Any]], *left_out: str) -> list[str]:
    return [event["type"] for event in found if not event["type"].startswith(("RUN_", "STATE_", *left_out))]


def of(found: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in found if event["type"] == kind]


def test_adjacent_pieces_are_one_event_and_a_whole_is_one_message() -> None:
    found = read(output("a"), output("b", last=True), output("c", last=True), DONE)

    assert [event["delta"] for event in of(found, "TEXT_MESSAGE_CONTENT")] == ["ab", "c"]
    assert len({event["messageId"] for event in of(found, "TEXT_MESSAGE_START")}) == 2


def test_another_group_is_another_message() -> None:
    found = read(output("a"), output("b", group="h"), DONE)

    assert [event["delta"] for event in of(found, "TEXT_MESSAGE_CONTENT")] == ["a", "b"]
    assert len(of(found, "TEXT_MESSAGE_END")) == 2


def test_an_answer_that_ended_early_is_an_error() -> None:
    found = read(output(Answer("a", finish_reason="error"), "answers"), DONE)

    assert (found[-1]["type"], found[-1]["code"]) == ("RUN_ERROR", "answer-incomplete")


def test_the_data_of_an_answer_is_its_text() -> None:
    found = read(output(Answer(data={"x": 1}, finish_reason="stop"), "answers"), DONE)

    assert [event["delta"] for event in of(found, "TEXT_MESSAGE_CONTENT")] == ['{"x":1}']


def test_other_values_are_custom_events_of_a_bounded_size() -> None:
    found = read(output({"x": 1}, "data"), output("x" * 300_000, "data"), DONE)

    small, large = [event["value"] for event in of(found, "CUSTOM")]
    assert small == {"component": "out", "port": "in", "lane": "data", "value": {"x": 1}}
    assert large["left_out"] is True
    assert large["events"] == "/v1/runs/run-1/events?after=1"


def test_waves_are_steps_and_a_late_result_begins_none() -> None:
    node = state(NodeState.RUNNING)
    found = read(node, call(), call(2), result(1), state(NodeState.COMPLETED), DONE)

    steps = [(event["type"], event["stepName"]) for event in found if event["type"].startswith("STEP_")]
    assert steps == [
        ("STEP_STARTED", "agent"),
        ("STEP_STARTED", "agent wave 1"),
        ("STEP_FINISHED", "agent wave 1"),
        ("STEP_STARTED", "agent wave 2"),
        ("STEP_FINISHED", "agent wave 2"),
        ("STEP_FINISHED", "agent"),
    ]


def test_a_thought_is_a_whole_span() -> None:
    found = read(made(ThoughtUpdate, component="agent", wave=1, text="hm"), DONE)

    assert types(found, "STEP_") == [
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
    ]


def test_one_id_of_a_model_in_two_waves_is_two_calls() -> None:
    found = read(call(), result(), call(2), result(2), DONE)

    calls = [event["toolCallId"] for event in of(found, "TOOL_CALL_START")]
    assert len(set(calls)) == 2
    assert [event["toolCallId"] for event in of(found, "TOOL_CALL_RESULT")] == calls


def test_a_result_without_its_call_is_no_message() -> None:
    found = read(call(), result(), result(), DONE)

    assert len(of(found, "TOOL_CALL_RESULT")) == 1
    assert [event["name"] for event in of(found, "CUSTOM")] == ["lanemesh.tool_result"]


def test_progress_and_warnings_are_custom_events() -> None:
    found = read(
        made(ProgressUpdate, component="agent", done=1, total=2, message="half"),
        made(LogUpdate, component="agent", level=LogLevel.INFO, message="quiet"),
        made(LogUpdate, component="agent", level=LogLevel.WARNING, message="loud"),
        made(ToolProgressUpdate, component="agent", wave=1, call_id="c", message="soon", fraction=0.5),
        DONE,
    )

    assert [event["name"] for event in of(found, "CUSTOM")] == [
        "lanemesh.progress",
        "lanemesh.log",
        "lanemesh.tool_progress",
    ]


@pytest.mark.parametrize("given", ["text", 7, [1]])
def test_a_state_that_is_no_object_is_left_alone(given: Any) -> None:
    found = read(state(NodeState.RUNNING), state(NodeState.COMPLETED), DONE, state=given)

    assert not [event for event in found if event["type"].startswith("STATE_")]


@pytest.mark.parametrize(
    ("end", "kind", "outcome"),
    [
        (DONE, "RUN_FINISHED", {"type": "success"}),
        (job(RunState.CANCELLED), "RUN_FINISHED", {"type": "cancelled"}),
        (job(RunState.FAILED, error=Fault(code=Code.INTERNAL, reason="broke", message="it broke")), "RUN_ERROR", None),
        (job(RunState.FAILED), "RUN_ERROR", None),
    ],
)
def test_each_end_closes_what_is_open(end: Made, kind: str, outcome: Any) -> None:
    found = read(state(NodeState.RUNNING), call(), output("a"), end)

    assert (found[-1]["type"], found[-1].get("outcome")) == (kind, outcome)


def test_an_interrupt_ends_a_request_and_the_next_one_goes_on() -> None:
    updates = numbered(
        state(NodeState.RUNNING),
        made(HelperUpdate, component="model", calls=1, usage=Usage(3, 4)),
        output("be"),
        call(),
        approval(ApprovalState.REQUESTED),
        approval(ApprovalState.APPROVED),
        result(),
        output("fore"),
        made(HelperUpdate, component="model", calls=2, usage=Usage(5, 8)),
        state(NodeState.COMPLETED),
        DONE,
    )
    reader = events()
    first = plain([*reader.start(), *reader.read(updates[:5]), *reader.interrupt(5)])
    check_events(first)
    (interrupt,) = first[-1]["outcome"]["interrupts"]
    assert interrupt["toolCallId"] == of(first, "TOOL_CALL_START")[0]["toolCallId"]
    assert InterruptId.parse(interrupt["id"], "") == InterruptId("run-1", 5, "agent", "c")

    following = events(runId="r2")
    assert following.read(updates[:5]) == []
    second = plain([*following.start(), *following.read(updates[5:])])
    check_events(second)
    assert not of(second, "TOOL_CALL_START")
    assert of(second, "TOOL_CALL_RESULT")[0]["toolCallId"] == interrupt["toolCallId"]
    assert of(second, "STATE_SNAPSHOT")[0]["snapshot"]["lanemesh"]["nodes"] == {"agent": "running"}
    assert second[-1]["usage"] == [{"inputTokens": 2, "outputTokens": 4, "totalTokens": 6}]
    texts = {event["messageId"] for found in (first, second) for event in of(found, "TEXT_MESSAGE_START")}
    assert len(texts) == 2, "a client has one message per request"


def test_an_approval_that_still_waits_is_kept_for_the_next_request() -> None:
    updates = numbered(call(), approval(ApprovalState.REQUESTED))
    waiting, decided = events(), events()
    for reader in (waiting, decided):
        reader.read(updates)
    waiting.start([("agent", "c")])
    decided.start()

    assert waiting.waits
    assert not decided.waits


def test_an_interrupt_has_the_number_of_characters_that_are_left_out() -> None:
    reader = events()
    reader.start()
    asked = made(
        ApprovalUpdate,
        component="agent",
        call_id="c",
        state=ApprovalState.REQUESTED,
        tool="add",
        arguments='{"a": "x... (9 more characters)',
        omitted_characters=9,
    )
    reader.read(numbered(asked))

    (interrupt,) = plain(reader.interrupt(1))[-1]["outcome"]["interrupts"]
    assert interrupt["metadata"]["lanemesh"]["omitted_characters"] == 9
    assert interrupt["metadata"]["lanemesh"]["arguments"].startswith('{"a": "x')
    assert "toolCallId" not in interrupt, "no agent has reported the call"


def test_a_failure_after_the_end_gives_no_event() -> None:
    reader = events()
    reader.start()
    reader.read(numbered(DONE))

    assert reader.fail(Fault(code=Code.INTERNAL, reason="late", message="late")) == []


@pytest.mark.parametrize("parts", [("run-1", "a/b", "c d"), ("run-1", "ä", "%2F"), ("r", "", "")])
def test_the_id_of_an_interrupt_is_read_as_it_was_written(parts: tuple[str, str, str]) -> None:
    run_id, component, call_id = parts
    written = InterruptId(run_id, 7, component, call_id)

    assert InterruptId.parse(str(written), "") == written


@pytest.mark.parametrize(
    "text", ["", "a", "a/b/c/d", "a/-1/c/d", "a/1/c", "a/1/b/c/d", "a/" + "9" * 19 + "/c/d", "x" * 5_000]
)
def test_other_ids_are_refused(text: str) -> None:
    with pytest.raises(LanemeshError, match="not the id of an interrupt"):
        InterruptId.parse(text, "/resume/0/interruptId")


START = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
END = {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}


@pytest.mark.parametrize(
    "broken",
    [
        [{"type": "TEXT_MESSAGE_CONTENT", "messageId": "m"}],
        [{"type": "TEXT_MESSAGE_START", "messageId": "m"}],
        [{"type": "TOOL_CALL_END", "toolCallId": "c"}],
        [{"type": "STEP_STARTED", "stepName": "s"}],
        [{"type": "STEP_FINISHED", "stepName": "s"}],
        [{"type": "TOOL_CALL_START", "toolCallId": "c"}, {"type": "TOOL_CALL_RESULT", "toolCallId": "c"}],
        [START],
        [END],
        [{"type": "RUN_ERROR"}],
    ],
)
def test_the_checker_finds_what_breaks_the_rules(broken: list[dict[str, Any]]) -> None:
    with pytest.raises(AssertionError):
        check_events([START, *broken, END])


def test_the_checker_wants_one_end() -> None:
    check_events([START, END])
    with pytest.raises(AssertionError):
        check_events([START])
