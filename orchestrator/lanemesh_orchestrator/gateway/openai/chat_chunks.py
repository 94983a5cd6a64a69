"""A turn as chunks of a chat completion, or as a whole one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanemesh.values import ToolCall, Usage

from lanemesh_orchestrator.gateway.model_api.streams import WholeTurn
from lanemesh_orchestrator.gateway.model_api.turns import Began, Called, Failed, Finished, TurnEvent, Wrote
from lanemesh_orchestrator.gateway.openai.errors import run_error_body
from lanemesh_orchestrator.gateway.sse import event

DONE = b"data: [DONE]\n\n"
"""The end of a stream."""


class ChatChunks:
    """Makes the chunks of one stream."""

    def __init__(self, model: str, *, include_usage: bool) -> None:
        """`include_usage`: a last chunk has the usage, and the others a null."""
        self._model = model
        self._usage: dict[str, Any] = {"usage": None} if include_usage else {}
        self._base: dict[str, Any] = {}
        self._calls = 0

    def chunk(self, turn_event: TurnEvent) -> bytes:
        """The events that are sent for one of a turn."""
        match turn_event:
            case Began():
                self._base = _base(turn_event, "chat.completion.chunk", self._model)
                return self._chunk({"role": "assistant", "content": "", "refusal": None})
            case Wrote():
                return self._chunk({"content": turn_event.text})
            case Called():
                call = {"index": self._calls, **_call(turn_event.call)}
                self._calls += 1
                return self._chunk({"tool_calls": [call]})
            case Finished():
                return self._chunk({}, turn_event.reason) + self._last(turn_event.usage) + DONE
            case Failed():
                return event({"error": run_error_body(turn_event.fault)}) + DONE

    def _chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event({**self._base, "choices": [choice], **self._usage})

    def _last(self, usage: Usage | None) -> bytes:
        if not self._usage:
            return b""
        return event({**self._base, "choices": [], "usage": usage_body(usage or Usage(0, 0))})


def completion(turn: WholeTurn, model: str) -> dict[str, Any]:
    """A whole turn as a chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or None, "refusal": None, "annotations": []}
    if turn.calls:
        message["tool_calls"] = list(map(_call, turn.calls))
    else:
        message["content"] = turn.text
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": turn.finished.reason}
    body = {**_base(turn.began, "chat.completion", model), "choices": [choice]}
    return body if turn.finished.usage is None else {**body, "usage": usage_body(turn.finished.usage)}


def usage_body(usage: Usage) -> dict[str, Any]:
    """The tokens of a turn."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _base(began: Began, kind: str, model: str) -> dict[str, Any]:
    created = int(began.time.timestamp())
    return {"id": f"chatcmpl-{began.run_id}", "object": kind, "created": created, "model": model}


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }
