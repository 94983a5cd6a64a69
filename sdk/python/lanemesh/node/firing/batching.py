"""Batches of firings: one call of `process` for the firings of several runs."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import inspect
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lanemesh._aio.threads import THREADS
from lanemesh._aio.user_code import failure_of
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.batch import Batch
from lanemesh.node.callables import is_asynchronous
from lanemesh.node.context import Context
from lanemesh.node.node import Node
from lanemesh.rendering import rendered

OF_THE_BATCH = frozenset(
    {
        Code.CANCELLED,
        Code.DEADLINE_EXCEEDED,
        Code.PERMISSION_DENIED,
        Code.RESOURCE_EXHAUSTED,
        Code.FAILED_PRECONDITION,
        Code.UNAVAILABLE,
        Code.UNAUTHENTICATED,
    }
)
"""Codes of errors that no single item causes, such as of a service that is away. The batch is not divided to find one."""

CLOSE_SECONDS = 5.0
"""How long a cancelled batch may take to end."""

log = logging.getLogger("lanemesh.batches")


@dataclass(eq=False, slots=True)
class _Entry:
    """A firing that waits for its result."""

    item: Any
    arrived: float
    """When it arrived, by the clock of the loop."""
    result: asyncio.Future[Any]


class Batcher:
    """Runs the firings of one node class, config and resource in batches.

    When a batch has ended, those that wait run at once as the next one. A firing that is alone waits for a second one, for
    `Batch.within` since its arrival. What waits is bounded by the concurrency of the components that share the batcher.
    """

    def __init__(self, node: Node) -> None:
        """`node` has the config and the resource."""
        assert node.batch_ is not None
        self._node = node
        self._rule: Batch = node.batch_
        self._waiting: deque[_Entry] = deque()
        self._running: dict[asyncio.Task[None], list[_Entry]] = {}
        self._timer: asyncio.TimerHandle | None = None
        """Begins a batch of a firing that is alone."""
        self._due = False
        """The next batch begins in the next turn of the loop, with all that has arrived by then."""
        self._in_thread = not is_asynchronous(getattr(type(node), "process", None))

    async def result(self, item: Any, on_abandoned: Callable[[], object]) -> Any:
        """The result of one firing. A cancelled firing leaves its batch; if no other firing is left there, the batch is cancelled.

        Args:
            item: the copy of the node for the firing.
            on_abandoned: called if the cancelled batch runs in a thread, which goes on.

        Raises:
            Exception: the failure of this firing.
        """
        loop = asyncio.get_running_loop()
        entry = _Entry(item, loop.time(), loop.create_future())
        self._waiting.append(entry)
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
        return len(self._waiting)

    @property
    def is_running(self) -> bool:
        """A batch runs."""
        return bool(self._running)

    async def close(self) -> None:
        """Cancels the batches that still run, and waits 5 s for them at most; those in threads are abandoned."""
        self._unschedule()
        running = [*self._running]
        for task in running:
            task.cancel()
        if running and (await asyncio.wait(running, timeout=CLOSE_SECONDS))[1]:
            log.error("abandoned a batch of %s, which ignored its cancellation", self._node.provider)

    def _leave(self, entry: _Entry) -> bool:
        """Removes a cancelled firing. Returns whether a batch that ran only for it was cancelled."""
        if entry in self._waiting:
            self._waiting.remove(entry)
            self._unschedule()
            self._schedule()
            return False
        for task, batch in self._running.items():
            if entry in batch and all(other.result.done() for other in batch):
                task.cancel()
                return True
        return False

    def _schedule(self) -> None:
        """Has the next batch begin, unless it is due already or enough run."""
        if self._due or not self._waiting or len(self._running) >= self._rule.concurrency:
            return
        loop = asyncio.get_running_loop()
        until = self._waiting[0].arrived + self._rule.within
        if len(self._waiting) < min(2, self._rule.max) and until > loop.time():
            if self._timer is None:
                self._timer = loop.call_at(until, self._begin, context=contextvars.Context())
            return
        self._unschedule()
        self._due = True
        loop.call_soon(self._begin, context=contextvars.Context())

    def _unschedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._due, self._timer = False, None
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._rule.max))]
        if not batch:
            return
        task = asyncio.create_task(self._run(batch), name=f"batch of {self._node.provider}")
        self._running[task] = batch
        task.add_done_callback(self._ended)
        self._schedule()

    def _ended(self, task: asyncio.Task[None]) -> None:
        for entry in self._running.pop(task):
            entry.result.cancel()  # only of a batch that was cancelled, or ended by an interrupt
        if not task.cancelled():
            task.result()
        self._schedule()

    async def _run(self, batch: list[_Entry]) -> None:
        """Runs a batch. If `process` raises, its halves are run, and so on, so that only the items that cause it fail."""
        parts = [batch]
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
                _settle(entry.result, result)

    async def _process(self, items: list[Any]) -> Sequence[Any]:
        node: Any = copy.copy(self._node)
        if self._in_thread:
            results = await THREADS.call(node.process, items[:])
            results = await results if inspect.isawaitable(results) else results
        else:
            results = await node.process(items[:])
        if not isinstance(results, list | tuple):
            raise self._bad(f"process returned {rendered(results)}; return a list with one result per item")
        if len(results) != len(items):
            raise self._bad(f"process returned {len(results)} results for {len(items)} items; return one per item")
        return results

    def _bad(self, what: str) -> LanemeshError:
        message = f"{self._node.provider}: {what}, in the same order."
        return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-result", message=message))


class BatchBody:
    """Runs the firings of one component in the batches of its node class."""

    def __init__(self, batcher: Batcher, node: Node, context: Context) -> None:
        self.abandoned = ""
        node.context = context
        self._batcher = batcher

    def process(self, node: Any) -> Awaitable[Any]:
        """The result of one firing."""
        return self._batcher.result(node, self._abandon)

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """Not used: a node with `batch` has no `gen_process`."""
        raise NotImplementedError

    def _abandon(self) -> None:
        self.abandoned = "its synchronous body did not stop and was abandoned"


class Batchers:
    """The batchers of one node server, by node class, config and resource. Each exists while components use it."""

    def __init__(self) -> None:
        self._batchers: dict[tuple[type[Node], str, int], tuple[Batcher, set[int]]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Firings that wait for a batch."""
        return sum(batcher.waiting for batcher, _ in self._batchers.values())

    def of(self, node: Node, config: str, context: Context) -> BatchBody:
        """The body of a component. Release it when the component has ended.

        Args:
            node: the component's node, with its config and resource.
            config: text that equal configs share.
            context: the component's context, which the copies of its node get.
        """
        key = (type(node), config, id(node.resource))
        if key not in self._batchers:
            of_all = type(node)()
            of_all.config, of_all.resource = node.config, node.resource
            self._batchers[key] = (Batcher(of_all), set())
        batcher, users = self._batchers[key]
        users.add(id(node))
        return BatchBody(batcher, node, context)

    def release(self, node: Node, config: str) -> None:
        """The component of this node has ended. Has no effect if it has no body here."""
        key = (type(node), config, id(node.resource))
        if key not in self._batchers:
            return
        batcher, users = self._batchers[key]
        users.discard(id(node))
        if not users:
            del self._batchers[key]
            if batcher.is_running:
                closing = asyncio.create_task(batcher.close(), name="close batches")
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Cancels the batches that still run, and waits 5 s for them at most."""
        await asyncio.gather(*self._closing, *(batcher.close() for batcher, _ in self._batchers.values()))


def _is_of_the_batch(error: Exception) -> bool:
    return isinstance(error, LanemeshError) and error.fault.code in OF_THE_BATCH


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():  # its firing was cancelled meanwhile
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
