"""The actor: runs one component of one run, whatever its kind, and ends its lanes however it ends."""

from __future__ import annotations

import asyncio
import copy
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from lanemesh.lanes.faults import Code, Fault, LanemeshError
from lanemesh.lanes.inbox import Inbox, Port
from lanemesh.lanes.items import ABSENT, Envelope, Group, GroupOutcome, Item, LaneType
from lanemesh.lanes.values import copy_json
from lanemesh.node import unawaited
from lanemesh.node.context import Context
from lanemesh.node.firing import Done, Fire, FiringPolicy, OnAny, PortView, ZipAll
from lanemesh.node.groups import FiringGroups, KeptGroups
from lanemesh.node.inputs import Inputs
from lanemesh.node.node import Kind, Node
from lanemesh.node.outputs import Outputs
from lanemesh.node.threads import THREADS

MAX_LIST_ITEMS = 100_000
"""Most items that a list input collects."""
MAX_LIST_BYTES = 64 * 1024 * 1024
"""Most bytes that a list input collects: 64 MiB."""
FINALIZE_SECONDS = 5.0
"""Longest that `finalize` may take."""
CLOSE_SECONDS = 0.5
"""How long a synchronous generator that is closed early is waited for."""


class State(Enum):
    """The states of an actor."""

    STARTING = "starting"
    RUNNING = "running"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an actor ended."""

    state: State
    firings: int
    fault: Fault | None = None
    detail: str = ""
    error: Exception | None = None
    """What the node raised, where that was an exception."""


class Actor:
    """One component in one run."""

    def __init__(
        self,
        node: Node,
        context: Context,
        inbox: Inbox,
        outputs: Outputs,
        *,
        sync_mode: str = "",
        one_inputs: frozenset[str] = frozenset(),
        timeout: float | None = None,
    ) -> None:
        self.context = context
        self.inbox = inbox
        self.outputs = outputs
        self.firings = 0
        self.abandoned = ""
        """Says so if a synchronous body went on when it was cancelled."""
        self._node = node
        self._specs = type(node).inputs_
        self._sync_mode = sync_mode or node.sync_mode
        self._one_inputs = one_inputs
        self._timeout = timeout
        self._latest: dict[str, Any] = {}
        self._pieces = frozenset(
            name
            for name, spec in type(node).outputs_.items()
            if spec.pieces or outputs.lane_type(name) is LaneType.ANSWERS
        )
        self._kept = KeptGroups(outputs)
        outputs.runs_to_end = node.runs_to_end
        if not node.runs_to_end:
            outputs.when_deserted(lambda: inbox.stop("its own consumers take no more"))

    async def run(self) -> Outcome:
        """Runs the component to its end. Never raises but when its task is cancelled, and then only after `finalize`."""
        fault: Fault | None = None
        raised: Exception | None = None
        state, detail = State.COMPLETED, ""
        cancelled: asyncio.CancelledError | None = None
        try:
            if type(self._node).kind_ is Kind.RUN:
                await self._run()
            else:
                state, detail = await self._fire_all()
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception as error:
            raised = error
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # also of a body that made nothing of it, or failed because of it
            cancelled = cancelled or asyncio.CancelledError()
            self.context.cancelled = True
            fault = self._cancelled_fault()
        else:
            cancelled = None  # every lane of the node was stopped: a clean end
        with suppress(LanemeshError):
            await self._kept.close(_outcome(cancelled or raised))
        unfinalized = await self._finalize()
        raised = raised or unfinalized
        if fault is None and raised is not None:
            fault = self._located(Fault.from_exception(raised))
        if fault is None and self.outputs.deserted_because is not None and not self._node.runs_to_end:
            fault = self._located(self.outputs.deserted_because)
        self.context.cancelled = True
        self.inbox.mark_processed()
        self.outputs.end(fault.as_secondary() if fault is not None else None)
        if fault is not None:
            self.inbox.stop(f"{self.context.component} failed", fault.as_secondary())
        else:
            self.inbox.stop(f"{self.context.component} has ended")
        if cancelled is not None:
            raise cancelled
        if fault is not None:
            state = State.CANCELLED if fault.code is Code.CANCELLED and fault.secondary else State.FAILED
            return Outcome(state, self.firings, fault, error=raised)
        return Outcome(state, self.firings, detail=detail)

    async def _run(self) -> None:
        inputs = Inputs(self.context.component, self.inbox, self._specs)
        node: Any = self._fresh({})
        unawaited.watch()
        async with self._deadline("run"):
            body = node.run(self.context, inputs, self.outputs)
            await (self._until_deserted(body) if node.boundary == "source" else body)
        self.outputs.check_awaited()
        self.firings = 1

    async def _until_deserted(self, body: Coroutine[Any, Any, None]) -> None:
        """Runs the body of a source, which waits for its client: it is closed when nobody takes what that might still send."""
        running = asyncio.create_task(body, name=self.context.component)
        self.outputs.when_deserted(running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling() or not self.outputs.deserted:
                raise

    async def _fire_all(self) -> tuple[State, str]:
        """Fires until the policy is done. Returns whether the node fired or was skipped, and what there is to say about it."""
        collected = await self._collect_lists()
        names = [name for name, spec in self._specs.items() if not spec.is_list and self.inbox.port(name).edges]
        if not names:
            waiting_for = [name for name, spec in self._specs.items() if spec.required and not spec.is_list]
            if waiting_for:
                return State.SKIPPED, f'the input "{waiting_for[0]}" is not connected'
            await self._fire(collected, None)
            return State.COMPLETED, ""
        ports = {name: self.inbox.port(name) for name in names}
        policy = self._policy(names)
        while True:
            await self._pass_ends(ports)
            decision = policy.decide({name: PortView(port.head, port.ended) for name, port in ports.items()})
            if isinstance(decision, Fire):
                taken = {name: ports[name].take() for name in decision.take}
                await self._fire_with(taken, collected)
                self.inbox.mark_processed()
                if self.outputs.deserted and not self._node.runs_to_end:
                    return State.COMPLETED, ""
            elif isinstance(decision, Done):
                for port in ports.values():
                    port.raise_fault()
                return self._leave(decision, ports)
            else:
                for port in ports.values():
                    if not port.entries:
                        port.raise_fault()
                await self.inbox.changed()

    def _policy(self, names: list[str]) -> FiringPolicy:
        if self._sync_mode == "zip_all":
            return ZipAll(self._one_inputs & frozenset(names), frozenset(names))
        return OnAny(frozenset(name for name in names if self._specs[name].required))

    def _leave(self, done: Done, ports: dict[str, Port]) -> tuple[State, str]:
        left = {name: len(port.entries) for name, port in ports.items() if port.entries}
        counts = ", ".join(f"{count} on {name}" for name, count in left.items())
        if done.skipped_for:
            waited = f"; items that waited: {counts}" if counts else ""
            return State.SKIPPED, f'the required input "{done.skipped_for}" ended without an item{waited}'
        if counts:
            self.context.log.warning("ended with items left over: %s", counts)
        return State.COMPLETED, f"items left over: {counts}" if counts else ""

    async def _collect_lists(self) -> dict[str, Any]:
        names = [name for name, spec in self._specs.items() if spec.is_list]
        if not names:
            return {}
        lists: dict[str, list[Any]] = {name: [] for name in names}
        held = 0
        while True:
            port = self.inbox.first_waiting(names)
            if port is not None:
                item = port.take()
                if item.value is ABSENT:
                    continue
                held += item.size
                lists[port.name].append(self._specs[port.name].check(item.value, self.context.component))
                if len(lists[port.name]) > MAX_LIST_ITEMS or held > MAX_LIST_BYTES:
                    raise self._too_long(port.name, len(lists[port.name]), held)
                continue
            for name in names:
                self.inbox.port(name).raise_fault()
            if all(self.inbox.port(name).ended for name in names):
                return lists
            await self.inbox.changed()

    async def _pass_ends(self, ports: dict[str, Port]) -> None:
        """Takes the items without a value that are next: they end groups, and no firing is for them."""
        for port in ports.values():
            while port.entries and port.entries[0][2] is ABSENT:
                envelope = port.take().envelope
                if envelope is not None and envelope.group is not None:
                    await self._kept.pass_on(envelope.group)

    async def _fire_with(self, taken: dict[str, Item], collected: dict[str, Any]) -> None:
        groups = []
        for name, item in taken.items():
            self._latest[name] = self._specs[name].check(item.value, self.context.component)
            if item.envelope is not None and item.envelope.group is not None:
                groups.append(item.envelope.group)
        await self._fire({**self._latest, **collected}, groups[0] if len(groups) == 1 else None)

    async def _fire(self, values: dict[str, Any], group: Group | None) -> None:
        self.firings += 1
        node: Any = self._fresh(values)
        if type(node).kind_ is Kind.PROCESS:
            async with self._deadline("firing"):
                await self._process(node, group)
            return
        groups = FiringGroups(self.context.component, self.firings, self.outputs)
        try:
            async with self._deadline("firing"):
                await self._generate(node, groups)
                await groups.close(GroupOutcome.OK)
        except (Exception, asyncio.CancelledError) as error:
            await groups.close(_outcome(error))
            raise

    def _fresh(self, values: dict[str, Any]) -> Node:
        """A copy of the node for one firing, with values that nobody else holds."""
        node = copy.copy(self._node)
        for name, spec in self._specs.items():
            value = values.get(name, spec.default) if name in values or not spec.required else None
            if name not in values and spec.is_list:
                value = []
            if isinstance(value, list) and spec.is_list:
                value = list(value)
            elif isinstance(value, dict | list):
                value = copy_json(value)
            setattr(node, name, value)
        return node

    async def _process(self, node: Any, group: Group | None) -> None:
        if inspect.iscoroutinefunction(node.process):
            result = await node.process(self.context)
        else:
            result = await self._in_thread(partial(node.process, self.context))
        if result is None:
            result = {}
        if not isinstance(result, dict):
            raise self._bad(f"process returned {type(result).__name__}; return a dict of port to value, or None")
        envelope = Envelope(group=group) if group is not None else None
        for port, value in result.items():
            await self.outputs.emit(port, value, envelope)
        if group is not None:
            await self._kept.pass_on(group, result)

    async def _in_thread(self, body: Callable[[], Any]) -> Any:
        try:
            return await THREADS.call(body)
        except asyncio.CancelledError:
            self.context.cancelled = True
            self.context.abandon_waits()
            self.abandoned = "its synchronous body did not stop and was abandoned"
            raise

    async def _generate(self, node: Any, groups: FiringGroups) -> None:
        body = node.gen_process
        produced = (
            body(self.context) if inspect.isasyncgenfunction(body) else in_threads(body(self.context), self._in_thread)
        )
        emit, pieces = self.outputs.emit, self._pieces
        async with aclosing(produced) as pairs:
            async for pair in pairs:
                if type(pair) is not tuple or len(pair) != 2:
                    raise self._bad(f'gen_process yielded {pair!r:.80}; yield ("port", value)')
                port, value = pair
                if await emit(port, value, groups.piece(port, value) if port in pieces else None):
                    continue
                if self.outputs.deserted and not self._node.runs_to_end:
                    return

    async def _finalize(self) -> Exception | None:
        try:
            async with asyncio.timeout(FINALIZE_SECONDS) as scope:
                await self._node.finalize(self.context)
        except Exception as error:
            if scope.expired() and isinstance(error, TimeoutError):
                message = f"{self.context.component}: finalize took longer than {FINALIZE_SECONDS:g} s"
                return LanemeshError(Fault(code=Code.DEADLINE_EXCEEDED, reason="timeout", message=message))
            return error
        return None

    @asynccontextmanager
    async def _deadline(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout) as scope:
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise LanemeshError(
                Fault(
                    code=Code.DEADLINE_EXCEEDED,
                    reason="timeout",
                    message=f"{self.context.component}: one {what} took longer than its timeout of {self._timeout:g} s"
                    + (f"; {self.abandoned}" if self.abandoned else ""),
                )
            ) from None

    def _located(self, fault: Fault) -> Fault:
        return fault.located(component=self.context.component, provider=self.context.provider)

    def _cancelled_fault(self) -> Fault:
        return self._located(
            Fault(
                code=Code.CANCELLED,
                reason="cancelled",
                message=f"{self.context.component} was cancelled",
                secondary=True,
            )
        )

    def _bad(self, what: str) -> LanemeshError:
        message = f"{self.context.component} ({self.context.provider}): {what}."
        return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-result", message=message))

    def _too_long(self, port: str, items: int, held: int) -> LanemeshError:
        return LanemeshError(
            Fault(
                code=Code.RESOURCE_EXHAUSTED,
                reason="list-too-long",
                message=f"the list input {self.context.component}.{port} collected {items:,} items and {held:,} bytes; its ceiling "
                f"is {MAX_LIST_ITEMS:,} items and {MAX_LIST_BYTES:,} bytes. Use run(), which takes items as they come",
            )
        )


def _outcome(error: BaseException | None) -> GroupOutcome:
    """How the groups end that an error leaves open."""
    if error is None:
        return GroupOutcome.OK
    return GroupOutcome.CANCELLED if isinstance(error, asyncio.CancelledError) else GroupOutcome.ERROR


async def in_threads(
    pairs: Iterator[Any], call: Callable[[Callable[[], Any]], Awaitable[Any]] = THREADS.call
) -> AsyncGenerator[Any, None]:
    """Iterates over a synchronous generator by `call`, which runs each step in a worker thread, and closes it in the end."""
    end = object()
    closing = threading.Event()
    stepping = threading.Lock()

    def step() -> Any:
        try:
            with stepping:
                return end if closing.is_set() else next(pairs, end)
        finally:
            if closing.is_set():  # it was abandoned meanwhile
                close()

    def close() -> None:
        closer = getattr(pairs, "close", None)
        if closer is not None and stepping.acquire(blocking=False):
            try:
                closer()
            finally:
                stepping.release()

    try:
        while (pair := await call(step)) is not end:
            yield pair
    finally:
        closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await THREADS.call(close)
