"""The rules of Anthropic's streams, field by field: https://docs.anthropic.com/en/api/messages-streaming."""

from __future__ import annotations

import json
from typing import Any

from rigs.sse import events_of

MESSAGE = {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
STOP_REASONS = {"end_turn", "max_tokens", "tool_use"}
ERROR_TYPES = {
    *("invalid_request_error", "authentication_error", "permission_error", "not_found_error"),
    *("request_too_large", "rate_limit_error", "api_error", "overloaded_error", "timeout_error"),
}


def check_error(body: dict[str, Any]) -> None:
    """Asserts that a body is an error."""
    assert body.keys() == {"type", "error"}
    assert body["type"] == "error"
    assert body["error"].keys() == {"type", "message"}
    assert body["error"]["type"] in ERROR_TYPES
    assert body["error"]["message"]


def check_message(message: dict[str, Any]) -> None:
    """Asserts that an object is a message."""
    assert message.keys() == MESSAGE
    assert (message["type"], message["role"]) == ("message", "assistant")
    assert message["id"].startswith("msg_")
    assert message["usage"].keys() == {"input_tokens", "output_tokens"}
    assert message["stop_sequence"] is None


def check_message_stream(body: bytes, *, whole: bool = True) -> None:
    """Asserts that a body is a stream of a message. `whole`: it was read to its end."""
    events, ends_between = events_of(body)
    assert ends_between or not whole
    values = [event.value for event in events]
    assert [event.name for event in events] == [value["type"] for value in values]
    values = [value for value in values if value != {"type": "ping"}]
    if values and values[-1]["type"] == "error":
        check_error(values.pop())
        whole = False
    if not values:
        assert not whole
        return
    first = values.pop(0)
    assert first.keys() == {"type", "message"}
    assert first["type"] == "message_start"
    check_message(first["message"])
    assert first["message"]["content"] == []
    assert first["message"]["stop_reason"] is None
    kinds = _check_blocks(values, whole=whole)
    if whole:
        end, stop = values[-2:]
        assert end.keys() == {"type", "delta", "usage"}
        assert end["delta"].keys() == {"stop_reason", "stop_sequence"}
        assert end["delta"]["stop_reason"] in STOP_REASONS
        assert (end["delta"]["stop_reason"] == "tool_use") == ("tool_use" in kinds)
        assert end["usage"].keys() == {"input_tokens", "output_tokens"}
        assert stop == {"type": "message_stop"}


def _check_blocks(events: list[dict[str, Any]], *, whole: bool) -> list[str]:
    """The kinds of the blocks."""
    kinds: list[str] = []
    arguments: str | None = None
    is_open = False
    for event in events[:-2] if whole else events:
        if event["type"] in ("message_delta", "message_stop"):
            assert not whole
            continue
        assert event["index"] == len(kinds) - is_open
        if event["type"] == "content_block_start":
            assert event.keys() == {"type", "index", "content_block"}
            block = event["content_block"]
            kinds.append(block["type"])
            if block["type"] == "text":
                assert block == {"type": "text", "text": ""}
                arguments = None
            else:
                assert block.keys() == {"type", "id", "name", "input"}
                assert (block["type"], block["input"]) == ("tool_use", {})
                arguments = ""
            assert not is_open
            is_open = True
        elif event["type"] == "content_block_delta":
            assert is_open
            assert event.keys() == {"type", "index", "delta"}
            delta = event["delta"]
            if arguments is None:
                assert delta.keys() == {"type", "text"}
                assert delta["type"] == "text_delta"
                assert delta["text"]
            else:
                assert delta.keys() == {"type", "partial_json"}
                assert delta["type"] == "input_json_delta"
                arguments += delta["partial_json"]
        else:
            assert event.keys() == {"type", "index"}
            assert event["type"] == "content_block_stop"
            assert is_open
            assert arguments is None or isinstance(json.loads(arguments), dict)
            is_open = False
    assert not is_open or not whole
    return kinds
