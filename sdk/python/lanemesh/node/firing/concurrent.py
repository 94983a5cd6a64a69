"""Concurrent firings of a node: each emits after the earlier ones have ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from lanemesh.node.context import Context
from lanemesh.node.firing.executor import Firing, FiringExecutor, OrderTicket
from lanemesh.node.firing.taking import NoMoreFirings, Taking, Valueless
from lanemesh.node.outputs import Outputs
from lanemesh.node.waits import SIBLING


class ConcurrentFirings:
    """Runs a bounded number of concurrent firings, each in its own task."""

    def __init__(
        self,
        context: Context,
        executor: FiringExecutor,
        taking: Taking,
        outputs: Outputs,
        limit: int,
        wait_for_more: Callable[[], Awaitable[None]],
        max_bytes: int | None = None,
    ) -> None:
        """`limit`: most firings at a time. `wait_for_more` waits until there may be more items to take. `max_bytes`: bytes of the
        items of firings under way at which no further one begins; None: no limit."""
        self._name = f"{context.component} firing"
        self._waits = context.waits
        self._executor = executor
        self._taking = taking
        self._limit = limit
        self._wait_for_more = wait_for_more
        self._max_bytes = max_bytes
        self._outputs = outputs
        self._failed = False
        """A firing has failed."""
        self._interrupted = False
        """The cancellation came from outside."""

    async def run(self) -> NoMoreFirings:
        """Fires until the inputs are exhausted."""
        under_way: deque[asyncio.Task[None]] = deque()
        sizes: deque[int] = deque()
        size = 0
        last: OrderTicket | None = None
        task = asyncio.current_task()
        cancelling = task.cancelling() if task is not None else 0
        try:
            async with asyncio.TaskGroup() as tasks, self._cancellation_recorded():
                while True:
                    if len(under_way) >= self._limit or (under_way and self._is_full(size)):
                        await self._ended(under_way[0])
                    while under_way and under_way[0].done():
                        under_way.popleft()
                        size -= sizes.popleft()
                    if self._outputs.closes_node:
                        await self._ended(*under_way)
                        return NoMoreFirings(False, "")
                    try:
                        step = self._taking.next()
                    except Exception:
                        await self._ended(*under_way)
                        raise
                    if step is None:
                        await self._wait_for_more()
                        continue
                    if isinstance(step, NoMoreFirings):
                        await self._ended(*under_way)
                        return step
                    firing = step if isinstance(step, Valueless) else self._executor.begin(step)
                    ticket, last = last, OrderTicket()
                    work = self._in_order(firing, ticket, last)
                    under_way.append(tasks.create_task(work, name=self._name))
                    sizes.append(0 if isinstance(step, Valueless) else sum(item.size for item in step.values()))
                    size += sizes[-1]
        except BaseExceptionGroup as failures:
            if task is not None and task.cancelling() > cancelling and not self._interrupted:
                task.uncancel()  # the group's own cancellation, which it reverts only in some cases before Python 3.13
            raise failures.exceptions[0] from None

    def _is_full(self, size: int) -> bool:
        return self._max_bytes is not None and size >= self._max_bytes

    @asynccontextmanager
    async def _cancellation_recorded(self) -> AsyncIterator[None]:
        """Records whether a cancellation comes from outside: if a firing fails, its group cancels this task as well."""
        try:
            yield
        except asyncio.CancelledError:
            self._interrupted = not self._failed
            raise

    async def _ended(self, *firings: asyncio.Task[None]) -> None:
        """Waits for the end of these firings."""
        if firings:
            with self._waits.waiting(SIBLING):
                await asyncio.wait(firings)

    async def _in_order(self, firing: Firing | Valueless, ticket: OrderTicket | None, own: OrderTicket) -> None:
        """Executes one of several concurrent firings."""
        broken = True
        try:
            with self._waits.task():
                if isinstance(firing, Valueless):
                    if ticket is not None:
                        await ticket.wait(self._waits)
                    await self._executor.pass_on(firing)
                else:
                    firing.ticket = ticket
                    try:
                        await self._executor.perform(firing)
                    except asyncio.CancelledError:
                        if not self._outputs.closes_node:
                            raise  # else its outputs have no consumer; later firings continue, to the same end
            broken = False
        except Exception:
            self._failed = True
            raise
        finally:
            own.end(broken=broken)
