"""The checkers of streams find what breaks the rules of a dialect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from lanemesh.faults import Code, Fault
from lanemesh.values import ToolCall, Usage
from lanemesh_orchestrator.gateway.anthropic.message_events import MessageEvents
from lanemesh_orchestrator.gateway.model_api.turns import Began, Called, Failed, Finished, TurnEvent, Wrote
from lanemesh_orchestrator.gateway.openai.chat_chunks import ChatChunks
from lanemesh_orchestrator.gateway.openai.response_events import ResponseEvents
from lanemesh_orchestrator.gateway.sse import event

from rigs.anthropic_rules import check_message_stream
from rigs.openai_rules import check_chat_stream, check_response_stream

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TURN: list[TurnEvent] = [
    Began("run-1", NOW),
    Wrote("one"),
    Wrote(" two"),
    Called(ToolCall("c1", "look", '{"a":1}')),
    Called(ToolCall("c2", "look", "")),
    Finished("tool_calls", Usage(1, 2), NOW),
]
FAILED: list[TurnEvent] = [
    *TURN[:3],
    Failed(Fault(code=Code.INTERNAL, reason="node-error", message="out of order"), NOW),
]


def chat(turn: list[TurnEvent], *, include_usage: bool = True) -> bytes:
    chunks = ChatChunks("chat", include_usage=include_usage)
    return b"".join(map(chunks.chunk, turn))


def messages(turn: list[TurnEvent]) -> bytes:
    return b"".join(map(MessageEvents("chat").chunk, turn))


def responses(turn: list[TurnEvent]) -> bytes:
    made = ResponseEvents("run-1", "chat", background=True)
    return b"".join(event(one, name=one["type"]) for part in turn for one in made.events(part))


STREAMS = pytest.mark.parametrize(
    ("make", "check"),
    [
        pytest.param(chat, check_chat_stream, id="chat completions"),
        pytest.param(responses, check_response_stream, id="responses"),
        pytest.param(messages, check_message_stream, id="messages"),
    ],
)


@STREAMS
@pytest.mark.parametrize("turn", [TURN, FAILED, TURN[:1] + TURN[-2:], [TURN[0], Finished("stop", None, NOW)]])
def test_streams_keep_the_rules(make, check, turn: list[TurnEvent]) -> None:  # type: ignore[no-untyped-def]
    body = make(turn)
    check(body)
    for size in range(len(body)):
        if body[:size].endswith(b"\n\n"):
            check(body[:size], whole=False)


@STREAMS
def test_an_event_that_is_missing_doubled_or_moved_is_found(make, check) -> None:  # type: ignore[no-untyped-def]
    frames = re.findall(rb".*?\n\n", make(TURN), re.DOTALL)
    needed = [place for place, frame in enumerate(frames) if b"ping" not in frame]
    for wrong in broken(frames, needed):
        with pytest.raises((AssertionError, KeyError, IndexError, ValueError)):
            check(b"".join(wrong))


def broken(frames: list[bytes], needed: list[int]) -> Iterator[list[bytes]]:
    """Streams with one wrong event, but for what is another correct stream: one with other text, or with fewer calls."""
    for place in needed:
        if not re.search(rb'"content":" ?\w|text_delta|"tool_calls":\[{"index":1', frames[place]):
            yield frames[:place] + frames[place + 1 :]
        if not re.search(rb'"content":" ?\w|text_delta', frames[place]):
            yield frames[: place + 1] + frames[place:]
    for left, right in pairwise(needed):
        if b"one" not in frames[left] and b'"content":" two"' not in frames[left]:
            swapped = list(frames)
            swapped[left], swapped[right] = frames[right], frames[left]
            yield swapped


@STREAMS
def test_a_field_that_is_missing_or_unknown_is_found(make, check) -> None:  # type: ignore[no-untyped-def]
    body = make(TURN)
    fields = set(re.findall(rb'"([a-z_]+)":', body)) - {b"a"}
    for field in fields:
        changed = body.replace(b'"%s":' % field, b'"%s_":' % field, 1)
        with pytest.raises((AssertionError, KeyError)):
            check(changed)
