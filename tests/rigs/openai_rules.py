"""The rules of OpenAI's streams, field by field: https://platform.openai.com/docs/api-reference/chat-streaming and
https://platform.openai.com/docs/api-reference/responses-streaming."""

from __future__ import annotations

from typing import Any

from rigs.sse import DONE, events_of

CHUNK = {"id", "object", "created", "model", "choices"}
FINISH_REASONS = {"stop", "length", "tool_calls"}
ERROR = {"message", "type", "param", "code"}


def check_chat_stream(body: bytes, *, whole: bool = True) -> None:
    """Asserts that a body is a stream of a chat completion. `whole`: it was read to its end."""
    events, ends_between = events_of(body)
    assert all(event.name == "" for event in events)
    if whole:
        assert ends_between
        assert events[-1].data == DONE
        events.pop()
    chunks = [event.value for event in events]
    failed = bool(chunks) and "error" in chunks[-1]
    if failed:
        check_error(chunks.pop())
    assert not any("error" in chunk for chunk in chunks), "an error is the last event"
    check_chunks(chunks, whole=whole and not failed)


def check_error(body: dict[str, Any]) -> None:
    """Asserts that a body is an error."""
    assert body.keys() == {"error"}
    assert body["error"].keys() == ERROR
    assert isinstance(body["error"]["message"], str)
    assert body["error"]["message"]
    assert isinstance(body["error"]["type"], str)
    assert body["error"]["type"]


def check_chunks(chunks: list[dict[str, Any]], *, whole: bool) -> None:
    """Asserts that chunks are those of one completion."""
    with_usage = bool(chunks) and "usage" in chunks[0]
    fields = CHUNK | ({"usage"} if with_usage else set())
    for chunk in chunks:
        assert chunk.keys() == fields
        assert chunk["object"] == "chat.completion.chunk"
        assert isinstance(chunk["created"], int)
        assert [chunk[name] for name in ("id", "created", "model")] == [
            chunks[0][name] for name in ("id", "created", "model")
        ]
        assert chunk["id"].startswith("chatcmpl-")
    if with_usage and whole:
        last = chunks.pop()
        assert last["choices"] == []
        usage = last["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert all(chunk.get("usage") is None for chunk in chunks)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert len(choices) == len(chunks)
    _check_choices(choices, whole=whole)


def _check_choices(choices: list[dict[str, Any]], *, whole: bool) -> None:
    calls = 0
    for place, choice in enumerate(choices):
        assert choice.keys() == {"index", "delta", "logprobs", "finish_reason"}
        assert choice["index"] == 0
        assert choice["logprobs"] is None
        delta = choice["delta"]
        assert ("role" in delta) == (place == 0)
        assert delta.keys() <= {"role", "content", "refusal", "tool_calls"}
        for call in delta.get("tool_calls", ()):
            assert call.keys() == {"index", "id", "type", "function"}
            assert call["index"] == calls
            assert call["type"] == "function"
            assert call["id"]
            assert call["function"].keys() == {"name", "arguments"}
            calls += 1
        if choice["finish_reason"] is not None:
            assert place == len(choices) - 1
            assert choice["finish_reason"] in FINISH_REASONS
            assert delta == {}
            assert (choice["finish_reason"] == "tool_calls") == bool(calls)
    if whole:
        assert choices[0]["delta"]["role"] == "assistant"
        assert choices[-1]["finish_reason"] is not None
