"""The fast path for the most common firings: one input with immutable values, and items without envelopes.

Their values need no comparison, copy or propagation. Each step would cost as much as all other work, so the steps are inlined.
`FiringExecutor` handles all other items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lanemesh._aio.threads import HopSize
from lanemesh._aio.user_errors import Closing, close, failure_of
from lanemesh.items import Item, LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.inbox.port import Entry
from lanemesh.node.context import Context
from lanemesh.node.firing.bodies import MAX_HOP_BYTES, Body, LoopBody, ThreadBody
from lanemesh.node.firing.executor import Firing, FiringExecutor
from lanemesh.node.outputs import Outputs
from lanemesh.node.ports import InputSpec

if TYPE_CHECKING:
    from lanemesh._aio.generators import GeneratorThread

_FROZEN = frozenset(LaneType) - {LaneType.DATA, LaneType.TAGS, LaneType.TABLE}


def is_plain(spec: InputSpec) -> bool:
    """Whether the values of an input may be passed to a node without a copy."""
    return spec.lane_type in _FROZEN and not spec.is_list and not spec.is_checked


class PlainFirings:
    """Takes items and fires as long as the waiting items of the only input are plain."""

    def __init__(
        self,
        inbox: Inbox,
        name: str,
        context: Context,
        executor: FiringExecutor,
        outputs: Outputs,
        body: Body,
        *,
        generates: bool = False,
    ) -> None:
        """`generates`: the body is `gen_process`."""
        self._generates = generates
        self._port = inbox.port(name)
        self._name = name
        self._executor = executor
        self._outputs = outputs
        self._body = body
        self._context = context
        self._hops = HopSize()

    async def fire(self) -> bool:
        """Fires until no plain item waits, or no consumer takes the outputs. Returns whether it fired."""
        before = self._executor.count
        if isinstance(self._body, ThreadBody):
            await (self._generate_in_hops(self._body) if self._generates else self._fire_in_hops(self._body))
        elif isinstance(self._body, LoopBody):
            await (self._generate_in_order(self._body) if self._generates else self._fire_in_order())
        return self._executor.count > before

    async def _fire_in_order(self) -> None:
        name, executor, context, outputs = self._name, self._executor, self._context, self._outputs
        fresh, latest = executor.copier.copier_for(name), executor.latest
        texts, emit, closable = outputs.texts, outputs.emit, not outputs.runs_to_end
        for entry in self._port.each_plain():
            latest[name] = value = entry[2]
            executor.count += 1
            emitted = False
            try:
                result = await fresh(value).process(context)
                if result is not None:
                    if type(result) is not dict:
                        result = executor.by_port(result)
                    for output, sent in result.items():
                        if output not in texts or not texts[output](sent):
                            await emit(output, sent)
                        emitted = True
            except BaseException as error:
                await self._failed(entry, failure_of(error), emitted)
            if outputs.downstream_closed and closable:
                return

    async def _fire_in_hops(self, body: ThreadBody) -> None:
        port, executor, hops, outputs = self._port, self._executor, self._hops, self._outputs
        texts, emit, closable = outputs.texts, outputs.emit, not outputs.runs_to_end
        fresh = executor.copier.copier_for(self._name)
        while taken := port.take_plain(hops.most, MAX_HOP_BYTES):
            executor.latest[self._name] = taken[-1][2]
            while taken:
                results: list[Any] = []
                # the thread makes each copy when it is due: hundreds of copies at a time would keep the garbage collector busy
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
                                if output not in texts or not texts[output](sent):
                                    await emit(output, sent)
                                emitted = True
                    except BaseException as error:
                        await self._failed(entry, failure_of(error), emitted)
                    if outputs.downstream_closed and closable:
                        return
                if raised is not None:
                    executor.count += 1
                    await self._failed(taken[len(results)], raised, False)
                    if outputs.closes_node:
                        return
                del taken[:done]
            port.inbox.mark_processed()

    async def _generate_in_order(self, body: LoopBody) -> None:
        name, executor, outputs, warn = self._name, self._executor, self._outputs, self._context.log.warning
        fresh, latest = executor.copier.copier_for(name), executor.latest
        texts, emit = outputs.texts, outputs.emit
        for entry in self._port.each_plain():
            latest[name] = value = entry[2]
            executor.count += 1
            emitted = False
            try:
                async with Closing(body.generate(fresh(value)), warn) as pairs:
                    async for pair in pairs:
                        if type(pair) is not tuple or len(pair) != 2:
                            raise executor.no_pair(pair)
                        output, sent = pair
                        if (output in texts and texts[output](sent)) or await emit(output, sent):
                            emitted = True
                        elif outputs.closes_node:
                            return
            except BaseException as error:
                await self._failed(entry, failure_of(error), emitted)
            if outputs.closes_node:
                return

    async def _generate_in_hops(self, body: ThreadBody) -> None:
        port, executor, hops, outputs = self._port, self._executor, self._hops, self._outputs
        fresh = executor.copier.copier_for(self._name)
        while taken := port.take_plain(hops.most, MAX_HOP_BYTES):
            executor.latest[self._name] = taken[-1][2]
            while taken:
                done = 0
                thread = body.generate_each(fresh(entry[2]) for entry in taken)
                async with Closing(thread, self._context.log.warning):
                    for entry in taken:
                        await self._generate_next(entry, thread)
                        done += 1
                        if outputs.closes_node:
                            return
                        if thread.abandoned:
                            break
                hops.did(thread.done_at_once, of=len(taken))
                del taken[:done]
            port.inbox.mark_processed()

    async def _generate_next(self, entry: Entry, thread: GeneratorThread) -> None:
        """Fires on an item, with the next generator of a thread."""
        executor, outputs, pulled = self._executor, self._outputs, thread.pulled
        texts, end = outputs.texts, thread.end
        executor.count += 1
        emitted = ended = False
        number = thread.begin()
        try:
            try:
                while True:
                    if not pulled:
                        await thread.more()
                    pair = pulled.popleft()
                    if type(pair) is end:
                        ended = True
                        if pair.error is not None:
                            raise pair.error
                        return
                    if type(pair) is not tuple or len(pair) != 2:
                        raise executor.no_pair(pair)
                    output, sent = pair
                    if (output in texts and texts[output](sent)) or await outputs.emit(output, sent):
                        emitted = True
                    elif outputs.closes_node:
                        return
            finally:
                if not ended:
                    await close(thread.leave(number), thread.name, self._context.log.warning)
        except BaseException as error:
            await self._failed(entry, failure_of(error), emitted)

    async def _failed(self, entry: Entry, error: Exception, emitted: bool) -> None:
        number, name = self._executor.count, self._name
        _, _, value, size, _ = entry
        firing = Firing(number, {name: Item(value, size)}, None, values={name: value}, emitted=emitted)
        await self._executor.failed(firing, error)
