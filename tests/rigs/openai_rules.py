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
    if with_usage and (whole or (chunks and not chunks[-1]["choices"])):
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"].keys() == {"prompt_tokens", "completion_tokens", "total_tokens"}
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


RESPONSE = {
    *("id", "object", "created_at", "status", "background", "completed_at", "error", "incomplete_details"),
    *("instructions", "max_output_tokens", "metadata", "model", "output", "parallel_tool_calls"),
    *("previous_response_id", "reasoning", "store", "temperature", "text", "tool_choice", "tools", "top_p"),
    *("truncation", "usage"),
}
ENDS = {
    "response.completed": {"completed"},
    "response.incomplete": {"incomplete"},
    "response.failed": {"failed", "cancelled"},
}
PART_FIELDS = {"type", "sequence_number", "item_id", "output_index", "content_index"}


def check_response(response: dict[str, Any]) -> None:
    """Asserts that an object is a response."""
    assert response.keys() == RESPONSE
    assert response["object"] == "response"
    assert response["id"].startswith("resp_")
    assert isinstance(response["created_at"], int)
    assert (response["error"] is not None) == (response["status"] in ("failed", "cancelled"))
    assert (response["incomplete_details"] is not None) == (response["status"] == "incomplete")
    assert response["reasoning"].keys() == {"effort", "summary"}
    assert response["text"] == {"format": {"type": "text"}}
    for item in response["output"]:
        _check_item(item)
    if response["status"] in ("completed", "incomplete"):
        usage = response["usage"]
        details = {"input_tokens_details", "output_tokens_details"}
        assert usage.keys() == {"input_tokens", "output_tokens", "total_tokens"} | details
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        assert usage["input_tokens_details"].keys() == {"cached_tokens"}
        assert usage["output_tokens_details"].keys() == {"reasoning_tokens"}


def _check_item(item: dict[str, Any]) -> None:
    assert item["status"] in ("in_progress", "completed", "incomplete")
    if item["type"] == "message":
        assert item.keys() == {"id", "type", "role", "content", "status"}
        assert item["role"] == "assistant"
        for part in item["content"]:
            assert part.keys() == {"type", "text", "annotations", "logprobs"}
            assert part["type"] == "output_text"
    else:
        assert item["type"] == "function_call"
        assert item.keys() == {"id", "type", "call_id", "name", "arguments", "status"}


def check_response_stream(body: bytes, *, whole: bool = True, first: int = 0) -> None:
    """Asserts that a body is a stream of a response from one event on. `whole`: it was read to its end."""
    events, ends_between = events_of(body)
    assert ends_between or not whole
    values = [event.value for event in events]
    assert [event.name for event in events] == [value["type"] for value in values]
    assert [value["sequence_number"] for value in values] == list(range(first, first + len(values)))
    if first == 0:
        _Response().check(values, whole=whole)


class _Response:
    """A response that is put together from its events."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.part: dict[str, Any] | None = None
        self.is_open = False

    def check(self, events: list[dict[str, Any]], *, whole: bool) -> None:
        for place, event in enumerate(events):
            kind = event["type"]
            assert ("response" in event) == (place < 2 or kind in ENDS)
            if kind == "error":
                assert event.keys() == {"type", "sequence_number", "code", "message", "param"}
            if "response" in event:
                assert event.keys() == {"type", "sequence_number", "response"}
                check_response(event["response"])
            if place < 2:
                assert kind == ("response.created", "response.in_progress")[place]
            elif kind in ENDS or kind == "error":
                assert place == len(events) - 1
            else:
                getattr(self, kind.replace(".", "_"))(event)
        if whole:
            last = events[-1]
            assert last["type"] in ENDS
            assert last["response"]["status"] in ENDS[last["type"]]
            assert last["response"]["output"] == self.items
            assert not self.is_open
            assert len({event["response"]["id"] for event in events if "response" in event}) == 1

    def response_output_item_added(self, event: dict[str, Any]) -> None:
        assert event.keys() == {"type", "sequence_number", "output_index", "item"}
        assert not self.is_open
        assert event["output_index"] == len(self.items)
        assert event["item"]["status"] == "in_progress"
        _check_item(event["item"])
        assert event["item"].get("content", []) == []
        assert event["item"].get("arguments", "") == ""
        assert event["item"]["id"] not in [item["id"] for item in self.items]
        self.items.append(dict(event["item"]))
        self.is_open = True

    def response_content_part_added(self, event: dict[str, Any]) -> None:
        self._check_place(event, "part")
        assert event["part"] == {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        assert self.part is None
        self.part = dict(event["part"])

    def response_output_text_delta(self, event: dict[str, Any]) -> None:
        self._check_place(event, "delta", "logprobs")
        assert self.part is not None
        assert event["delta"]
        self.part["text"] += event["delta"]

    def response_output_text_done(self, event: dict[str, Any]) -> None:
        self._check_place(event, "text", "logprobs")
        assert self.part is not None
        assert event["text"] == self.part["text"]

    def response_content_part_done(self, event: dict[str, Any]) -> None:
        self._check_place(event, "part")
        assert event["part"] == self.part
        self.items[-1]["content"] = [self.part]
        self.part = None

    def response_function_call_arguments_delta(self, event: dict[str, Any]) -> None:
        assert event.keys() == {"type", "sequence_number", "item_id", "output_index", "delta"}
        self._check_item_place(event)
        self.items[-1]["arguments"] += event["delta"]

    def response_function_call_arguments_done(self, event: dict[str, Any]) -> None:
        assert event.keys() == {"type", "sequence_number", "item_id", "output_index", "name", "arguments"}
        self._check_item_place(event)
        assert event["arguments"] == self.items[-1]["arguments"]

    def response_output_item_done(self, event: dict[str, Any]) -> None:
        assert event.keys() == {"type", "sequence_number", "output_index", "item"}
        assert event["output_index"] == len(self.items) - 1
        assert self.part is None
        assert event["item"]["status"] in ("completed", "incomplete")
        assert {**self.items[-1], "status": event["item"]["status"]} == event["item"]
        self.items[-1] = event["item"]
        self.is_open = False

    def _check_place(self, event: dict[str, Any], *fields: str) -> None:
        assert event.keys() == PART_FIELDS | set(fields)
        assert event["content_index"] == 0
        self._check_item_place(event)

    def _check_item_place(self, event: dict[str, Any]) -> None:
        assert self.is_open
        assert event["output_index"] == len(self.items) - 1
        assert event["item_id"] == self.items[-1]["id"]
