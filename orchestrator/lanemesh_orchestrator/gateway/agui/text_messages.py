"""The outputs of a run as messages of the assistant, and as calls of the client's tools. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ag_ui.core import (
    BaseEvent,
    CustomEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallStartEvent,
)
from lanemesh.client.updates import OutputUpdate
from lanemesh.codec import encode, make_item
from lanemesh.items import LaneType
from lanemesh.json_text import dump_json
from lanemesh.values import Answer, ToolCall

from lanemesh_orchestrator.item_json import value_json

MAX_VALUE = 256 * 1024
"""Largest value other than text that is sent, in bytes."""


class TextMessages:
    """The messages of one run: at most one is open per target."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._open: dict[str, str] = {}
        """The ids of the open messages by component and port."""
        self._groups: dict[str, str] = {}
        """The groups of the open messages."""
        self.calls: list[str] = []
        """The ids of the calls of the client's tools."""

    def read(self, output: OutputUpdate) -> Iterator[BaseEvent]:
        """The events of an output: text and answers are messages and calls of tools, other values are custom events."""
        value: Any = output.value
        calls: tuple[ToolCall, ...] = ()
        ends = output.group is not None and output.group.last
        where, group = f"{output.component}.{output.port}", output.group.id if output.group is not None else ""
        if self._groups.get(where, group) != group:  # an output without a value may have ended the one before
            yield from self._end(where)
        self._groups[where] = group
        if isinstance(value, Answer):
            text = value.text
            if value.data is not None and not text and where not in self._open:
                text = dump_json(value.data)
            calls = value.tool_calls
            ends = ends or bool(value.finish_reason)
        elif output.lane == "text":
            text = value
        else:
            yield _custom(output, self._run_id)
            return
        if text:
            yield from self._write(where, text, output.sequence)
        for call in calls:
            self.calls.append(call.id)
            parent = self._open.get(where)
            yield ToolCallStartEvent(tool_call_id=call.id, tool_call_name=call.name, parent_message_id=parent)
            yield ToolCallArgsEvent(tool_call_id=call.id, delta=call.arguments or "{}")
            yield ToolCallEndEvent(tool_call_id=call.id)
        if ends:
            yield from self._end(where)

    def end_all(self) -> Iterator[BaseEvent]:
        """Ends the open messages. Further text begins new ones."""
        for where in list(self._open):
            yield from self._end(where)

    def _write(self, where: str, text: str, sequence: int) -> Iterator[BaseEvent]:
        if where not in self._open:
            self._open[where] = f"{self._run_id}-text-{sequence}"
            yield TextMessageStartEvent(message_id=self._open[where], role="assistant")
        yield TextMessageContentEvent(message_id=self._open[where], delta=text)

    def _end(self, where: str) -> Iterator[BaseEvent]:
        self._groups.pop(where, None)
        message_id = self._open.pop(where, None)
        if message_id is not None:
            yield TextMessageEndEvent(message_id=message_id)


def _custom(output: OutputUpdate, run_id: str) -> CustomEvent:
    value: dict[str, Any] = {"component": output.component, "port": output.port, "lane": output.lane}
    lane = LaneType(output.lane)
    item = encode(lane, make_item(lane, output.value))
    if item.ByteSize() <= MAX_VALUE:
        value["value"] = value_json(item)
    else:
        value |= {"left_out": True, "events": f"/v1/runs/{run_id}/events?after={output.sequence - 1}"}
    return CustomEvent(name="lanemesh.output", value=value)
