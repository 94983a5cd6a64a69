"""A turn as a response, and as the typed events of its stream. Pure: the same updates give the same events, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime
from typing import Any

from lanemesh.faults import Code, Fault
from lanemesh.values import ToolCall, Usage

from lanemesh_orchestrator.gateway.model_api.streams import MAX_ANSWER
from lanemesh_orchestrator.gateway.model_api.turns import Began, Called, Failed, Finished, Lost, TurnEvent, Wrote
from lanemesh_orchestrator.gateway.openai.errors import error_code

Event = dict[str, Any]
PREFIX = "resp_"
"""Of the ids of responses; the id of the run follows."""


class ResponseEvents:
    """Makes the events of one response, numbered from 0, and has the response so far."""

    def __init__(self, run_id: str, model: str, *, background: bool) -> None:
        """`background`: the run continues without its client."""
        self._run_id = run_id
        self._number = 0
        self._length = 0
        self._text: dict[str, Any] | None = None
        """The message that is being written."""
        self._pieces: list[str] = []
        """Its text so far."""
        self.response: dict[str, Any] = {
            "id": PREFIX + run_id,
            "object": "response",
            "created_at": 0,
            "status": "queued" if background else "in_progress",
            "background": background,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": None,
            "metadata": {},
            "model": model,
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": True,
            "temperature": None,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "truncation": "disabled",
            "usage": None,
        }
        """The response as it is after the events so far."""

    @property
    def has_ended(self) -> bool:
        """Whether the last event was made."""
        return self.response["status"] not in ("queued", "in_progress")

    def events(self, event: TurnEvent) -> Iterator[Event]:
        """The events of one of a turn."""
        if self.has_ended:
            return
        match event:
            case Began():
                yield from self._begin(event.time)
            case Wrote():
                yield from self._write(event.text)
            case Called():
                yield from self._call(event.call)
            case Finished():
                yield from self._finish(event)
            case Lost():
                yield self._numbered("error", code=error_code(event.fault), message=event.fault.message, param=None)
            case Failed():
                yield from self._fail(event.fault, event.time)
        if self._length > MAX_ANSWER and not self.has_ended:
            message = f"the answer has more than {MAX_ANSWER:,} characters"
            fault = Fault(code=Code.OUT_OF_RANGE, reason="answer-too-long", message=message)
            yield from self._fail(fault, None)

    def _begin(self, time: datetime) -> Iterator[Event]:
        self.response["created_at"] = int(time.timestamp())
        yield self._state("response.created")
        self.response["status"] = "in_progress"
        yield self._state("response.in_progress")

    def _write(self, text: str) -> Iterator[Event]:
        self._length += len(text)
        if self._text is None:
            item = self._item("msg", type="message", role="assistant", content=[])
            yield self._numbered("response.output_item.added", output_index=self._index, item=deepcopy(item))
            self._text = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            yield self._part("response.content_part.added", part=dict(self._text))
            item["content"].append(self._text)
            self._pieces = []
        self._pieces.append(text)
        yield self._part("response.output_text.delta", delta=text, logprobs=[])

    def _end_text(self, status: str) -> Iterator[Event]:
        if self._text is None:
            return
        text = self._text["text"] = "".join(self._pieces)
        yield self._part("response.output_text.done", text=text, logprobs=[])
        yield self._part("response.content_part.done", part=dict(self._text))
        self._text = None
        yield self._end_item(status)

    def _call(self, call: ToolCall) -> Iterator[Event]:
        yield from self._end_text("completed")
        arguments = call.arguments or "{}"
        self._length += len(arguments)
        item = self._item("fc", type="function_call", call_id=call.id, name=call.name, arguments="")
        yield self._numbered("response.output_item.added", output_index=self._index, item=dict(item))
        place = {"item_id": item["id"], "output_index": self._index}
        yield self._numbered("response.function_call_arguments.delta", **place, delta=arguments)
        item["arguments"] = arguments
        yield self._numbered("response.function_call_arguments.done", **place, name=call.name, arguments=arguments)
        yield self._end_item("completed")

    def _finish(self, end: Finished) -> Iterator[Event]:
        is_cut = end.reason == "length"
        yield from self._end_text("incomplete" if is_cut else "completed")
        self.response["status"] = "incomplete" if is_cut else "completed"
        if is_cut:
            self.response["incomplete_details"] = {"reason": "max_output_tokens"}
        else:
            self.response["completed_at"] = int(end.time.timestamp())
        self.response["usage"] = _usage(end.usage or Usage(0, 0))
        yield self._state("response.incomplete" if is_cut else "response.completed")

    def _fail(self, fault: Fault, time: datetime | None) -> Iterator[Event]:
        yield from self._end_text("incomplete")
        is_cancelled = fault.code is Code.CANCELLED
        self.response["status"] = "cancelled" if is_cancelled else "failed"
        if time is not None:
            self.response["completed_at"] = int(time.timestamp())
        code = "rate_limit_exceeded" if fault.code is Code.RESOURCE_EXHAUSTED else "server_error"
        if fault.code is Code.INVALID_ARGUMENT:
            code = "invalid_prompt"
        self.response["error"] = {"code": code, "message": fault.message}
        yield self._state("response.failed")

    @property
    def _index(self) -> int:
        return len(self.response["output"]) - 1

    def _item(self, prefix: str, **fields: Any) -> dict[str, Any]:
        """A new item of the output."""
        output = self.response["output"]
        item = {"id": f"{prefix}_{self._run_id}_{len(output)}", **fields, "status": "in_progress"}
        output.append(item)
        return item

    def _end_item(self, status: str) -> Event:
        item = self.response["output"][-1]
        item["status"] = status
        return self._numbered("response.output_item.done", output_index=self._index, item=deepcopy(item))

    def _part(self, kind: str, **fields: Any) -> Event:
        item_id = self.response["output"][-1]["id"]
        return self._numbered(kind, item_id=item_id, output_index=self._index, content_index=0, **fields)

    def _state(self, kind: str) -> Event:
        return self._numbered(kind, response=deepcopy(self.response))

    def _numbered(self, kind: str, **fields: Any) -> Event:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return event


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
