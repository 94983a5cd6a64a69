"""Batches of firings: when each begins, what is in it, and how its results and failures reach the firings."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from lanemesh._aio.threads import THREADS, as_failure
from lanemesh._aio.user_errors import failure_of
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.batch import Batch
from lanemesh.node.callables import is_asynchronous
from lanemesh.node.firing.copier import NodeCopier
from lanemesh.node.node import Node
from lanemesh.rendering import rendered

OF_THE_BATCH = frozenset({Code.UNAVAILABLE, Code.UNAUTHENTICATED, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED})
"""Codes of errors that no single item causes, such as of a service that is away. The batch is not divided to find one."""

CLOSE_SECONDS = 5.0
"""How long a cancelled batch may take to end when the node server closes."""
ABANDON_SECONDS = 60.0
"""How long a batch that has lost its firings may go on before a further one begins beside it."""
IDLE_TURNS = 3
"""After so many turns of the event loop without a further firing, several firings wait no longer. Those of a client that pushes one
item after the other arrive in every second turn."""
WITHIN_OF_SEVERAL = 4
"""How many times `Batch.within` two or more firings wait at most, since the first one arrived."""

log = logging.getLogger("lanemesh.batches")


@dataclass(eq=False, slots=True)
class _Entry:
    """A firing that waits for its result."""

    item: Any
    component: Hashable
    arrived: float
    """When it arrived, by the clock of the loop."""
    result: asyncio.Future[Any]
    batch: _Running | None = None
    """The batch that runs it."""


@dataclass(eq=False, slots=True)
class _Running:
    """A batch that runs."""

    entries: list[_Entry]
    pending: int
    """How many of its firings wait for their results."""
    task: asyncio.Task[None] | None = None
    abandonment: asyncio.TimerHandle | None = None
    """Abandons it, if it goes on without firings."""


class Batcher:
    """Runs the firings of one node class, config and resource in batches.

    When a batch has ended, those that wait run as the next one. If more wait than it may have, components take turns. A firing that
    is alone waits for a second one, for `Batch.within` since its arrival. Several wait while further ones keep arriving. What waits
    is bounded by the concurrency of the components that share the batcher.
    """

    def __init__(self, node: Node, on_idle: Callable[[], object] = lambda: None) -> None:
        """`node` has the config and the resource. `on_idle` is called when the last batch that ran has ended."""
        assert node.batch_ is not None
        self._node = node
        self._copier = NodeCopier(node)
        self._rule: Batch = node.batch_
        self._on_idle = on_idle
        self._waiting: OrderedDict[Hashable, OrderedDict[_Entry, None]] = OrderedDict()
        """Firings in the order of their arrival, by component; the component whose turn is next is the first."""
        self._running: set[_Running] = set()
        self._timer: asyncio.TimerHandle | None = None
        """Begins a batch of a firing that is alone."""
        self._due = False
        """The next batch begins as soon as no further firing arrives."""
        self._arrived = 0
        """Firings that have arrived so far."""
        self._closed = False
        self._in_thread = not is_asynchronous(getattr(type(node), "process", None))

    async def result(self, item: Any, on_abandoned: Callable[[], object], component: Hashable = None) -> Any:
        """The result of one firing. A cancelled firing leaves its batch. If no other firing is left there, the batch is cancelled;
        in a thread it goes on, and the next one waits for it, for 60 s at most.

        Args:
            item: the copy of the node for the firing.
            on_abandoned: called if the firing was the last one of a batch that goes on in a thread.
            component: identifies the component; components take turns.

        Raises:
            Exception: the failure of this firing.
        """
        loop = asyncio.get_running_loop()
        entry = _Entry(item, component, loop.time(), loop.create_future())
        self._waiting.setdefault(component, OrderedDict())[entry] = None
        self._arrived += 1
        self._schedule()
        try:
            return await entry.result
        except asyncio.CancelledError:
            if self._leave(entry) and self._in_thread:
                on_abandoned()
            raise

    @property
    def waiting(self) -> int:
        """Firings that wait for the next batch."""
        return sum(map(len, self._waiting.values()))

    @property
    def is_running(self) -> bool:
        """A batch runs."""
        return bool(self._running)

    async def close(self) -> None:
        """Cancels all firings and the batches that still run, and waits 5 s for them at most; those in threads are abandoned."""
        self._closed = True
        self._unschedule()
        for queue in [*self._waiting.values()]:
            for entry in queue:
                entry.result.cancel()
        tasks = [running.task for running in self._running if running.task is not None]
        for task in tasks:
            task.cancel()
        if tasks and (await asyncio.wait(tasks, timeout=CLOSE_SECONDS))[1]:
            log.error("abandoned a batch of %s, which ignored its cancellation", self._node.provider)

    def lost_attributes(self) -> str:
        """A description of the attributes that `process` has set on `self`, and that are lost; empty if none."""
        return self._copier.lost_attributes()

    def _leave(self, entry: _Entry) -> bool:
        """Removes a cancelled firing. Returns whether it was the last one of a batch that runs."""
        running = entry.batch
        if running is None:
            queue = self._waiting.get(entry.component)
            if queue is not None and entry in queue:
                del queue[entry]
                if not queue:
                    del self._waiting[entry.component]
                self._unschedule()
                self._schedule()
            return False
        if running not in self._running or not entry.result.cancelled():
            return False
        running.pending -= 1
        if running.pending:
            return False
        if not self._in_thread and running.task is not None:
            running.task.cancel()
        loop = asyncio.get_running_loop()
        running.abandonment = loop.call_later(ABANDON_SECONDS, self._abandon, running, context=contextvars.Context())
        return True

    def _abandon(self, running: _Running) -> None:
        """Lets further batches begin beside one that goes on without firings."""
        log.error(
            "abandoned a batch of %s, which goes on %g s after its firings were cancelled: further batches run beside it",
            self._node.provider,
            ABANDON_SECONDS,
        )
        if running.task is not None:
            running.task.cancel()
        self._remove(running)

    def _schedule(self) -> None:
        """Has the next batch begin, unless it is due already or enough run."""
        if self._due or self._closed or not self._waiting or len(self._running) >= self._rule.concurrency:
            return
        loop = asyncio.get_running_loop()
        queue = next(iter(self._waiting.values()))
        arrived = next(iter(queue)).arrived
        if len(self._waiting) == 1 and len(queue) < min(2, self._rule.max):
            until = arrived + self._rule.within
            if until > loop.time():
                if self._timer is None:
                    self._timer = loop.call_at(until, self._begin, context=contextvars.Context())
                return
        self._unschedule()
        self._due = True
        until = arrived + WITHIN_OF_SEVERAL * self._rule.within
        loop.call_soon(self._gather, until, self._arrived, 0, context=contextvars.Context())

    def _gather(self, until: float, arrived: int, idle_turns: int) -> None:
        """Begins the next batch if no further firing has arrived for some turns of the loop, or the batch is full.

        Args:
            until: when the batch begins in any case, by the clock of the loop.
            arrived: firings that had arrived so far in the last turn.
            idle_turns: turns before this one without a further firing.
        """
        loop = asyncio.get_running_loop()
        idle_turns = idle_turns + 1 if arrived == self._arrived else 0
        if idle_turns >= IDLE_TURNS or self.waiting >= self._rule.max or loop.time() >= until:
            self._begin()
        else:
            loop.call_soon(self._gather, until, self._arrived, idle_turns, context=contextvars.Context())

    def _unschedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._due, self._timer = False, None
        entries = self._next_entries()
        if not entries or self._closed:
            return
        running = _Running(entries, len(entries))
        for entry in entries:
            entry.batch = running
        self._running.add(running)
        running.task = asyncio.create_task(self._run(running), name=f"batch of {self._node.provider}")
        running.task.add_done_callback(lambda task: self._ended(running, task))
        self._schedule()

    def _next_entries(self) -> list[_Entry]:
        """The firings of the next batch: one of each component in turn."""
        entries: list[_Entry] = []
        while self._waiting and len(entries) < self._rule.max:
            component, queue = self._waiting.popitem(last=False)
            entries.append(queue.popitem(last=False)[0])
            if queue:
                self._waiting[component] = queue
        return entries

    def _ended(self, running: _Running, task: asyncio.Task[None]) -> None:
        for entry in running.entries:
            entry.result.cancel()  # only of a batch that was cancelled, or ended by an interrupt
        self._remove(running)
        if not task.cancelled():
            task.result()

    def _remove(self, running: _Running) -> None:
        """A batch does not count any more."""
        if running.abandonment is not None:
            running.abandonment.cancel()
        if running not in self._running:
            return
        self._running.remove(running)
        self._schedule()
        if not self._running:
            self._on_idle()

    async def _run(self, running: _Running) -> None:
        """Runs a batch. If `process` raises, its halves are run, and so on, so that only the items that cause it fail."""
        parts = [running.entries]
        while parts:
            part = [entry for entry in parts.pop() if not entry.result.done()]
            if not part:
                continue
            try:
                results = await self._process([entry.item for entry in part])
            except BaseException as error:
                failure = failure_of(error)
                if len(part) > 1 and not _is_of_the_batch(failure):
                    half = len(part) // 2
                    parts += [part[half:], part[:half]]
                    continue
                results = [failure] * len(part)
            for entry, result in zip(part, results, strict=True):
                if _settle(entry.result, result):
                    running.pending -= 1

    async def _process(self, items: list[Any]) -> Sequence[Any]:
        """The results of one call. Several items may be passed again, so it gets copies that it may change."""
        given = [self._copier.duplicate(item) for item in items] if len(items) > 1 else items[:]
        node = self._copier.fresh({})
        if self._in_thread:
            results = await THREADS.call(node.process, given)
            results = await results if inspect.isawaitable(results) else results
        else:
            results = await node.process(given)
        if not isinstance(results, list | tuple):
            raise self._bad(f"process returned {rendered(results)}; return a list with one result per item")
        if len(results) != len(items):
            raise self._bad(f"process returned {len(results)} results for {len(items)} items; return one per item")
        return results

    def _bad(self, what: str) -> LanemeshError:
        message = f"{self._node.provider}: {what}, in the same order."
        return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-result", message=message))


def _is_of_the_batch(error: Exception) -> bool:
    return isinstance(error, LanemeshError) and error.fault.code in OF_THE_BATCH


def _settle(future: asyncio.Future[Any], result: Any) -> bool:
    """Sets the outcome of a firing. Returns False if it was cancelled meanwhile."""
    if future.done():
        return False
    if isinstance(result, StopIteration) or (isinstance(result, BaseException) and not isinstance(result, Exception)):
        future.set_exception(as_failure(result))  # no future carries it, or its task would end as if it were cancelled
    elif isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return True
