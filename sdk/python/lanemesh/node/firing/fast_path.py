"""Firings of the plainest sort, and most common: one input of values that nobody can change, which come without envelopes.

Nothing has to be compared, copied or handed on for them, and each step costs as much as all the rest: they are spelled out.
Whatever is not plain is left to `FiringExecutor`.
"""

from __future__ import annotations

from typing import Any

from lanemesh._aio.user_code import failure_of
from lanemesh.items import ABSENT, Item, LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.inbox.port import Entry
from lanemesh.node.context import Context
from lanemesh.node.firing.bodies import MAX_HOP_BYTES, Body, HopSize, LoopBody, ThreadBody
from lanemesh.node.firing.executor import Firing, FiringExecutor
from lanemesh.node.outputs import Outputs
from lanemesh.node.ports import InputSpec

_FROZEN = frozenset(LaneType) - {LaneType.DATA, LaneType.TAGS, LaneType.TABLE}


def is_plain(spec: InputSpec) -> bool:
    """Whether the values of an input may be given to a node as they are."""
    return spec.lane_type in _FROZEN and not spec.is_list and not spec.is_checked


class PlainFirings:
    """Takes and fires as long as what waits at the only input is plain."""

    def __init__(
        self, inbox: Inbox, name: str, context: Context, executor: FiringExecutor, outputs: Outputs, body: Body
    ) -> None:
        self._port = inbox.port(name)
        self._name = name
        self._executor = executor
        self._outputs = outputs
        self._body = body
        self._context = context
        self.downstream_closed = False
        """Nobody takes what further firings would emit."""
        self._hops = HopSize()

    async def fire(self) -> bool:
        """Fires until nothing plain waits any more, or nobody takes what comes of it. Returns whether it fired at all."""
        before = self._executor.count
        if isinstance(self._body, ThreadBody):
            await self._fire_in_hops(self._body)
        elif isinstance(self._body, LoopBody):
            await self._fire_in_order()
        return self._executor.count > before

    async def _fire_in_order(self) -> None:
        port, name, executor, context = self._port, self._name, self._executor, self._context
        fresh, latest = executor.copies.maker(name), executor.latest
        put, emit = self._outputs.put, self._outputs.emit
        while port.entries:
            _, edge, value, size, envelope = entry = port.entries[0]
            if envelope is not None or value is ABSENT:
                return
            port.entries.popleft()
            edge.taken += 1  # `took`, spelled out
            edge.buffered_items -= 1
            edge.buffered_bytes -= size
            if edge.taken >= edge.wake_at:
                edge.notify()
            executor.count += 1
            latest[name] = value
            emitted = False
            try:
                result = await fresh(value).process(context)
                if result is not None:
                    if type(result) is not dict:
                        result = executor.by_port(result)
                    for output, sent in result.items():
                        if not put(output, sent):
                            await emit(output, sent)
                        emitted = True
            except BaseException as error:
                await self._failed(entry, failure_of(error), emitted)
            edge.processed = edge.taken
            if self.downstream_closed:
                return

    async def _fire_in_hops(self, body: ThreadBody) -> None:
        executor, hops = self._executor, self._hops
        put, emit = self._outputs.put, self._outputs.emit
        fresh = executor.copies.maker(self._name)
        while taken := self._take(hops.most):
            while taken:
                results: list[Any] = []
                # the thread makes each copy when its turn has come: hundreds at a time would keep the garbage collector busy
                raised = await body.process_each((fresh(entry[2]) for entry in taken), results)
                done = len(results) + (raised is not None)
                hops.did(done, of=len(taken))
                for entry, result in zip(taken, results, strict=False):
                    executor.count += 1
                    emitted = False
                    try:
                        if result is not None:
                            if type(result) is not dict:
                                result = executor.by_port(result)
                            for output, sent in result.items():
                                if not put(output, sent):
                                    await emit(output, sent)
                                emitted = True
                    except BaseException as error:
                        await self._failed(entry, failure_of(error), emitted)
                    if self.downstream_closed:
                        return
                if raised is not None:
                    executor.count += 1
                    await self._failed(taken[len(results)], raised, False)
                    if self.downstream_closed:
                        return
                del taken[:done]
            self._port.inbox.mark_processed()

    def _take(self, most: int) -> list[Entry]:
        """Takes up to so many plain items, or 256 KiB of them."""
        port = self._port
        taken: list[Entry] = []
        held = 0
        while port.entries and len(taken) < most and held < MAX_HOP_BYTES:
            _, edge, value, size, envelope = entry = port.entries[0]
            if envelope is not None or value is ABSENT:
                break
            port.entries.popleft()
            edge.taken += 1  # `took`, spelled out
            edge.buffered_items -= 1
            edge.buffered_bytes -= size
            if edge.taken >= edge.wake_at:
                edge.notify()
            taken.append(entry)
            held += size
        if taken:
            self._executor.latest[self._name] = taken[-1][2]
        return taken

    async def _failed(self, entry: Entry, error: Exception, emitted: bool) -> None:
        number, name = self._executor.count, self._name
        _, _, value, size, _ = entry
        firing = Firing(number, {name: Item(value, size)}, None, values={name: value}, emitted=emitted)
        await self._executor.failed(firing, error)
