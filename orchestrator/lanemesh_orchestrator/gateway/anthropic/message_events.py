"""A turn as the events of a streamed message, or as a whole one. Pure."""

from __future__ import annotations

import json
from typing import Any

from lanemesh.faults import Code, Fault
from lanemesh.values import ToolCall, Usage

from lanemesh_orchestrator.gateway.anthropic.errors import run_error_body
from lanemesh_orchestrator.gateway.model_api.streams import TurnFailed, WholeTurn
from lanemesh_orchestrator.gateway.model_api.turns import Began, Called, Failed, Finished, TurnEvent, Wrote
from lanemesh_orchestrator.gateway.sse import event

PING = event({"type": "ping"}, name="ping")
"""A sign of life, after the first event."""
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class MessageEvents:
    """Makes the frames of one stream."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._blocks = 0
        self._in_text = False
        self.has_failed = False
        """The last frame is an error."""

    def chunk(self, turn_event: TurnEvent) -> bytes:
        """The events that are sent for one of a turn."""
        match turn_event:
            case Began():
                return _frame("message_start", message=_message(turn_event, self._model)) + PING
            case Wrote():
                begin = b"" if self._in_text else self._begin({"type": "text", "text": ""})
                self._in_text = True
                return begin + self._delta({"type": "text_delta", "text": turn_event.text})
            case Called():
                return self._call(turn_event.call)
            case Finished():
                usage = _usage(turn_event.usage)
                delta = {"stop_reason": _STOP_REASONS[turn_event.reason], "stop_sequence": None}
                return self._end_text() + _frame("message_delta", delta=delta, usage=usage) + _frame("message_stop")
            case Failed():
                return self._fail(turn_event.fault)

    def _call(self, call: ToolCall) -> bytes:
        try:
            arguments = json.dumps(_input(call), ensure_ascii=False)
        except TurnFailed as error:
            return self._fail(error.fault)
        frames = self._end_text()
        frames += self._begin({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
        return frames + self._delta({"type": "input_json_delta", "partial_json": arguments}) + self._end()

    def _fail(self, fault: Fault) -> bytes:
        self.has_failed = True
        return event(run_error_body(fault), name="error")

    def _begin(self, block: dict[str, Any]) -> bytes:
        return _frame("content_block_start", index=self._blocks, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _frame("content_block_delta", index=self._blocks, delta=delta)

    def _end(self) -> bytes:
        self._blocks += 1
        return _frame("content_block_stop", index=self._blocks - 1)

    def _end_text(self) -> bytes:
        was_in_text, self._in_text = self._in_text, False
        return self._end() if was_in_text else b""


def whole_message(turn: WholeTurn, model: str) -> dict[str, Any]:
    """A whole turn as a message. Raises TurnFailed if the arguments of a call are not a JSON object."""
    content: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    content += [{"type": "tool_use", "id": one.id, "name": one.name, "input": _input(one)} for one in turn.calls]
    return {
        **_message(turn.began, model),
        "content": content,
        "stop_reason": _STOP_REASONS[turn.finished.reason],
        "usage": _usage(turn.finished.usage),
    }


def _message(began: Began, model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{began.run_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(None),
    }


def _usage(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}


def _input(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call."""
    try:
        value = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        message = f'the model called "{call.name}" with arguments that are not a JSON object: {call.arguments:.200}'
        raise TurnFailed(Fault(code=Code.INTERNAL, reason="bad-arguments", message=message))
    return value


def _frame(kind: str, **fields: Any) -> bytes:
    return event({"type": kind, **fields}, name=kind)
