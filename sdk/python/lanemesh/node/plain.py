"""Firings of the plainest sort, and most common: one input of values that nobody can change, which come without envelopes.

Nothing has to be compared, copied or handed on for them, and each step costs as much as all the rest: they are spelled out.
Whatever is not plain is left to `Performer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lanemesh.lanes.inbox import Inbox
from lanemesh.lanes.items import ABSENT, Item, LaneType
from lanemesh.node.bodies import Body
from lanemesh.node.one_firing import Firing, Performer
from lanemesh.node.outputs import Outputs
from lanemesh.node.ports import InputSpec

_FROZEN = frozenset(LaneType) - {LaneType.DATA, LaneType.TAGS, LaneType.TABLE}


def is_plain(spec: InputSpec) -> bool:
    """Whether the values of an input may be given to a node as they are."""
    return spec.lane_type in _FROZEN and not spec.is_list


class PlainFirings:
    """Takes and fires as long as what waits at the only input is plain."""

    def __init__(
        self, inbox: Inbox, name: str, performer: Performer, outputs: Outputs, body: Body, deserted: Callable[[], bool]
    ) -> None:
        self._port = inbox.port(name)
        self._name = name
        self._performer = performer
        self._outputs = outputs
        self._process = body.process
        self._deserted = deserted

    async def fire(self) -> bool:
        """Fires one after the other. Returns whether it fired at all, when nothing plain waits any more or nobody takes what
        comes of it."""
        port, name, performer = self._port, self._name, self._performer
        fresh, process, put, emit = performer.copies.fresh_with, self._process, self._outputs.put, self._outputs.emit
        before = performer.count
        value: Any = None
        size = 0
        while port.entries:
            _, edge, value, size, envelope = port.entries[0]
            if envelope is not None or value is ABSENT:
                break
            port.entries.popleft()
            edge.taken += 1  # `took`, spelled out
            edge.buffered_items -= 1
            edge.buffered_bytes -= size
            if edge.taken >= edge.wake_at:
                edge.notify()
            performer.count += 1
            emitted = False
            try:
                result = await process(fresh(name, value))
                if result is not None:
                    if type(result) is not dict:
                        raise performer.bad_result(result)
                    for output, sent in result.items():
                        if not put(output, sent):
                            await emit(output, sent)
                        emitted = True
            except Exception as error:
                firing = Firing(performer.count, {name: Item(value, size)}, None, values={name: value}, emitted=emitted)
                performer.latest[name] = value
                await performer.failed(firing, error)
            edge.processed = edge.taken
            if self._deserted():
                break
        if performer.count == before:
            return False
        performer.latest[name] = value
        return True
