"""The rules for the order of AG-UI's events, checked on the bytes of a stream."""

from __future__ import annotations

import json
from collections import Counter
from copy import deepcopy
from typing import Any

from ag_ui.core import Event
from pydantic import TypeAdapter

_EVENTS: TypeAdapter[Event] = TypeAdapter(Event)
_PAIRS = {
    "TEXT_MESSAGE": ("messageId", ("START", "CONTENT", "END")),
    "TOOL_CALL": ("toolCallId", ("START", "ARGS", "END")),
    "REASONING_MESSAGE": ("messageId", ("START", "CONTENT", "END")),
    "REASONING": ("messageId", ("START", "", "END")),
}
"""What has a start, pieces and an end: the field of its id, and the endings of the types."""
_ENDS = ("RUN_FINISHED", "RUN_ERROR")


def check_stream(body: str, *, whole: bool = True) -> list[dict[str, Any]]:
    """Asserts the rules, and returns the events.

    Args:
        body: what the gateway sent.
        whole: the stream was read to its end.
    """
    blocks = [block for block in body.split("\n\n") if block and not block.startswith(":")]
    events = []
    for block in blocks:
        assert block.startswith("data: "), block
        assert "\n" not in block, block
        event = json.loads(block.removeprefix("data: "))
        _EVENTS.validate_python(event)
        assert None not in event.values() or event["type"] == "CUSTOM", event
        events.append(event)
    check_events(events, whole=whole)
    return events


def check_events(events: list[dict[str, Any]], *, whole: bool = True) -> None:
    """Asserts the rules of the order of events."""
    types = [event["type"] for event in events]
    if types:
        assert types[0] in ("RUN_STARTED", "RUN_ERROR"), types
    assert types.count("RUN_STARTED") <= 1, types
    ends = [place for place, kind in enumerate(types) if kind in _ENDS]
    assert ends == ([len(types) - 1] if whole else ends[:0]), types
    for name in _PAIRS:
        _check_pairs(name, events)
    _check_steps(events)
    _check_results(events)
    _check_state(events)
    if types and types[-1] == "RUN_FINISHED":
        begun, finished = events[0], events[-1]
        assert (begun["threadId"], begun["runId"]) == (finished["threadId"], finished["runId"])


def _check_pairs(name: str, events: list[dict[str, Any]]) -> None:
    """Each start has an id of its own; pieces and the end follow it; nothing is open at the end of a finished run."""
    field, (start, piece, end) = _PAIRS[name]
    opened: Counter[str] = Counter()
    active: set[str] = set()
    for event in events:
        kind = event["type"]
        if kind == f"{name}_{start}":
            opened[event[field]] += 1
            assert opened[event[field]] == 1, f"{kind}: the id {event[field]} was used before"
            active.add(event[field])
        elif piece and kind == f"{name}_{piece}":
            assert event[field] in active, f"{kind} before its start: {event}"
        elif kind == f"{name}_{end}":
            assert event[field] in active, f"{kind} without its start: {event}"
            active.remove(event[field])
        elif kind in _ENDS:
            assert not active, f"{kind} while {name} is open: {active}"


def _check_steps(events: list[dict[str, Any]]) -> None:
    active: set[str] = set()
    for event in events:
        if event["type"] == "STEP_STARTED":
            assert event["stepName"] not in active, event
            active.add(event["stepName"])
        elif event["type"] == "STEP_FINISHED":
            assert event["stepName"] in active, event
            active.remove(event["stepName"])
        elif event["type"] in _ENDS:
            assert not active, f"the run ends while steps are active: {active}"


def _check_results(events: list[dict[str, Any]]) -> None:
    """A call has at most one result, not before its end. Calls of an earlier stream have none of the start."""
    open_calls = {event["toolCallId"] for event in events if event["type"] == "TOOL_CALL_START"}
    ended: set[str] = set()
    answered: set[str] = set()
    for event in events:
        if event["type"] == "TOOL_CALL_END":
            ended.add(event["toolCallId"])
        elif event["type"] == "TOOL_CALL_RESULT":
            call = event["toolCallId"]
            assert call not in answered, event
            assert call in ended or call not in open_calls, event
            answered.add(call)


def _check_state(events: list[dict[str, Any]]) -> None:
    """Each change applies to the state before it."""
    state: Any = None
    for event in events:
        if event["type"] == "STATE_SNAPSHOT":
            state = deepcopy(event["snapshot"])
        elif event["type"] == "STATE_DELTA":
            for change in event["delta"]:
                _apply(state, change)


def _apply(state: Any, change: dict[str, Any]) -> None:
    """Applies an addition or a replacement (RFC 6902) to an object."""
    *parents, last = [step.replace("~1", "/").replace("~0", "~") for step in change["path"].split("/")[1:]]
    for step in parents:
        state = state[step]
    assert change["op"] == "add" or (change["op"] == "replace" and last in state), change
    state[last] = change["value"]
