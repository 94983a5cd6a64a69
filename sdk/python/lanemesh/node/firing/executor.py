"""One firing: its inputs, its body, its outputs, and the handling of its failure."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any

from lanemesh._aio.user_errors import Closing, Withdrawn, failure_of, failure_or_cancellation
from lanemesh.faults import Code, Fault, LaneFault, LanemeshError
from lanemesh.items import FILE_NAME, Envelope, Group, GroupOutcome, LaneType, Lineage
from lanemesh.node.context import Context
from lanemesh.node.firing.bodies import Body
from lanemesh.node.firing.copier import NodeCopier
from lanemesh.node.firing.deadline import Deadline, paused
from lanemesh.node.firing.groups import FiringGroups, KeptGroups
from lanemesh.node.firing.on_error import OnError, OnErrorPolicy
from lanemesh.node.firing.taking import TakenSet, Valueless
from lanemesh.node.join.lineage import LineageTracker, SequenceTag, lineage_of
from lanemesh.node.node import Kind, Node
from lanemesh.node.outputs import Outputs
from lanemesh.node.waits import SIBLING, Waits
from lanemesh.rendering import rendered

if TYPE_CHECKING:
    from lanemesh._aio.generators import GeneratorThread

MAX_FILE_NAME = 200
"""Most characters of the name of a file in an error."""


class OrderTicket:
    """The end of one of several concurrent firings, for which the next one waits."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        self._broken = False

    def end(self, *, broken: bool) -> None:
        """Notes the end. `broken`: the firing failed or was cancelled, so that no later one emits anything."""
        self._broken = broken
        self._ended.set()

    async def wait(self, waits: Waits) -> None:
        """Waits for the end. Raises CancelledError if the firing broke, also in a body that ignored a cancellation."""
        if not self._ended.is_set():
            with waits.waiting(SIBLING):
                await self._ended.wait()
        if self._broken:
            raise Withdrawn("an earlier firing failed or was cancelled")


@dataclass(slots=True)
class Firing:
    """One firing."""

    number: int
    """Number of the firing, from 1; 0 before it has begun."""
    taken: TakenSet
    """The items newly taken for the firing."""
    node: Any
    """The copy of the node that the body runs on."""
    group: Group | None = None
    """The group of the only item that has one."""
    error: Exception | None = None
    """The error that prevents its start."""
    lineages: list[Lineage] | None = None
    """The lineages of the items, if sequence tags are passed on."""
    closed_tags: dict[str, list[SequenceTag]] = field(default_factory=dict)
    """Sequence tags by output for which it was already reported that no more items come."""
    values: dict[str, Any] | None = None
    """Its inputs, kept for further attempts."""
    emitted: bool = False
    """It has sent an item."""
    ticket: OrderTicket | None = None
    """The ticket of the previous firing: this one emits nothing before that has ended. None: there is no such firing."""
    generators: GeneratorThread | None = None
    """Runs its generator, which is the next one of the thread. None: it has a thread of its own."""
    limit: asyncio.Timeout | None = None
    """Ends the firing when it takes too long."""


class FiringExecutor:
    """Executes the firings of one node."""

    def __init__(
        self, node: Node, context: Context, outputs: Outputs, body: Body, deadline: Deadline, on_error: OnError
    ) -> None:
        self.count = 0
        """Number of firings so far."""
        self.skipped = 0
        """Number of firings that failed and were dropped."""
        self.retried = 0
        """Number of further attempts at failed firings."""
        self.latest: dict[str, Any] = {}
        """The latest taken value of each input."""
        self._class = type(node)
        self._context = context
        self._opener = f"{context.component}~{context.incarnation}" if context.incarnation else context.component
        """Prefix of the names of the groups that it opens. It differs from the prefix of a lost component."""
        self._outputs = outputs
        self._body = body
        self._deadline = deadline
        self._on_error = on_error
        self._specs = self._class.inputs_
        self.copier = NodeCopier(node)
        """Makes the copies of the node."""
        self._kept = KeptGroups(outputs, resumed=context.incarnation > 0)
        self.fires_separately = False
        """A firing has no values of inputs whose items it did not take."""
        self.tracker: LineageTracker | None = None
        """Tracks the sequence tags of the taken items, if they are passed on."""
        self._refused: dict[str, Exception] = {}
        outputs_ = self._class.outputs_
        self._only_output = next(iter(outputs_)) if len(outputs_) == 1 else ""
        self._attempt = self._process if self._class.kind_ is Kind.PROCESS else self._generate
        self._pieces = frozenset(
            name
            for name, spec in self._class.outputs_.items()
            if spec.pieces or outputs.lane_type(name) is LaneType.ANSWERS
        )

    @property
    def passes_nothing_on(self) -> bool:
        """A generator's items belong to no group, and have no sequence tags."""
        return not self._pieces and self.tracker is None

    def begin(self, taken: TakenSet) -> Firing:
        """Checks the taken items, and makes the copy of the node for the firing."""
        latest, specs = self.latest, self._specs
        separate = self.fires_separately
        if separate:
            self._refused.clear()
        group: Group | None = None
        groups = 0
        for name, item in taken.items():
            try:
                latest[name] = specs[name].check(item.value, self._context.component)
            except LanemeshError as error:
                self._refused[name] = error
            else:
                if self._refused:
                    self._refused.pop(name, None)
            if item.envelope is not None and item.envelope.group is not None:
                group = item.envelope.group
                groups += 1
        values = {name: latest[name] for name in taken if name in latest} if separate else latest
        firing = Firing(0, taken, self.copier.fresh(values), group if groups == 1 else None)
        if self.tracker is not None:
            firing.lineages = [lineage for item in taken.values() if (lineage := lineage_of(item)) is not None]
            for lineage in firing.lineages:
                self.tracker.took(lineage)
        if self._refused:  # no firing gets an older value instead
            firing.error = next(iter(self._refused.values()))
            return firing
        if self._on_error.policy is OnErrorPolicy.RETRY:
            firing.values = dict(values)
        return firing

    async def perform(self, firing: Firing) -> None:
        """Executes a firing. Raises the error of its body, unless `on_error` prevents that."""
        try:
            if firing.error is not None:
                raise firing.error
            self.count += 1
            firing.number = self.count
            await self._attempt(firing)
        except BaseException as error:
            await self.failed(firing, failure_of(error))

    async def finish(self, firing: Firing, result: Any, error: Exception | None) -> None:
        """Completes a firing whose body has already returned or raised."""
        self.count += 1
        firing.number = self.count
        try:
            if error is not None:
                raise error
            await self.send(firing, result)
        except BaseException as failure:
            await self.failed(firing, failure_of(failure))

    async def send(self, firing: Firing, result: Any) -> None:
        """Sends the result of `process`, in the order of the firings."""
        if firing.ticket is not None:
            await self._turn(firing)
        if type(result) is not dict:
            result = self.by_port(result)
        envelope = Envelope(group=firing.group) if firing.group is not None else None
        if firing.lineages is not None:
            await self._send_tagged(firing, result, envelope)
            return
        for port, value in result.items():
            if not self._outputs.put(port, value, envelope):
                await self._outputs.emit(port, value, envelope)
            firing.emitted = True
        await self.end(firing, result)

    async def _send_tagged(self, firing: Firing, result: dict[str, Any], envelope: Envelope | None) -> None:
        """Sends items with their sequence tags. They complete the tags that the taken items complete."""
        assert self.tracker is not None
        forks = self.tracker.sequence_tags(firing.lineages or ())
        closing = self.tracker.closing(firing.lineages or ())
        closed = [tag for tag in forks.items() if tag in closing]
        lineage = Lineage(forks, frozenset(fork for fork, _ in closed)) if forks else None
        for port, value in result.items():
            await self._outputs.send(port, value, envelope, lineage)
            firing.closed_tags[port] = closed
            firing.emitted = True
        await self.end(firing, result)

    async def end(self, firing: Firing, sent: Collection[str]) -> None:
        """Ends a firing that has sent items by these outputs, whether it succeeded or was dropped."""
        if firing.group is not None:
            await self._kept.pass_on(firing.group, sent)
        if firing.lineages is not None:
            await self._finish(firing)

    async def _finish(self, firing: Firing) -> None:
        """Marks the taken items of a firing as processed: no further item is sent for them."""
        assert self.tracker is not None
        for lineage in firing.lineages or ():
            self.tracker.finished(lineage)
        firing.lineages = None
        if self.tracker.closed:
            await self._outputs.emit_completion(self.tracker.take_completed(), firing.closed_tags)

    async def pass_on(self, step: Valueless) -> None:
        """Passes on the completions that an item without a value carries."""
        envelope = step.item.envelope
        if envelope is not None and envelope.group is not None:
            await self._kept.pass_on(envelope.group)
        if self.tracker is not None:
            self.tracker.took(lineage_of(step.item), valued=False)
            await self._outputs.emit_completion(self.tracker.take_completed())

    async def close(self, outcome: GroupOutcome) -> None:
        """Ends the groups that were passed on in part and will not be completed."""
        with suppress(LanemeshError):
            await self._kept.close(outcome)

    async def _process(self, firing: Firing) -> None:
        if self._deadline.seconds is None:
            result = await self._body.process(firing.node)
        else:
            async with self._deadline.of("firing"):
                result = await self._body.process(firing.node)
        await self.send(firing, result)

    async def _generate(self, firing: Firing) -> None:
        groups = FiringGroups(self._opener, firing.number, self._outputs) if self._pieces else None
        try:
            if self._deadline.seconds is None:
                await self._route(firing, groups)
            else:
                try:
                    async with self._deadline.of("firing") as firing.limit:
                        await self._route(firing, groups)
                finally:
                    firing.limit = None  # later waits, such as for earlier firings, do not count for the body
            if groups is not None:
                await groups.close(GroupOutcome.OK)
            if firing.lineages is not None:
                await self._finish(firing)
        except BaseException as error:
            if groups is not None:
                await groups.close(outcome_of(failure_or_cancellation(error)))
            raise

    async def _route(self, firing: Firing, groups: FiringGroups | None) -> None:
        """Sends each pair at once, after the earlier firings have ended."""
        outputs, pieces, texts = self._outputs, self._pieces, self._outputs.texts
        envelope: Envelope | None = None
        lineage: Lineage | None = None
        if self.tracker is not None and firing.lineages is not None:
            lineage = Lineage(self.tracker.sequence_tags(firing.lineages))
        thread = firing.generators
        made = self._body.generate(firing.node) if thread is None else thread.values()
        async with Closing(made, self._context.log.warning) as pairs:
            async for pair in pairs:
                if type(pair) is not tuple or len(pair) != 2:
                    raise self.no_pair(pair)
                if firing.ticket is not None:
                    await self._turn(firing)
                port, value = pair
                if groups is not None:
                    envelope = groups.piece(port, value) if port in pieces else None
                if port in texts and texts[port](value, envelope):
                    firing.emitted = True
                elif not await (
                    outputs.emit(port, value, envelope)
                    if lineage is None
                    else outputs.send(port, value, envelope, lineage)
                ):
                    if outputs.closes_node:
                        return
                else:
                    firing.emitted = True
        if firing.ticket is not None:
            await self._turn(firing)

    async def _turn(self, firing: Firing) -> None:
        """Waits until every earlier firing has ended."""
        if firing.ticket is not None:
            with paused(firing.limit):
                await firing.ticket.wait(self._context.waits)
        firing.ticket = None

    async def failed(self, firing: Firing, error: Exception) -> None:
        """Retries or drops the firing, or raises the error."""
        attempt = 1
        while firing.error is None and self._on_error.tries_again(attempt, error, emitted=firing.emitted):
            await asyncio.sleep(self._on_error.pause(attempt))
            attempt += 1
            self.retried += 1
            self._context.log.warning(
                "firing %d failed, attempt %d begins: %s", firing.number, attempt, one_line(error)
            )
            firing.node = self.copier.fresh(firing.values or {})
            try:
                await self._attempt(firing)
            except BaseException as again:
                error = failure_of(again)
            else:
                return
        await self._turn(firing)
        error = _of_file(error, firing.taken)
        if not self._on_error.skips(error):
            if attempt > 1:
                self._context.log.warning("firing %d failed at each of %d attempts", firing.number, attempt)
            raise error
        self.skipped += 1
        self._context.log.warning("firing %d failed and was skipped: %s", firing.number, one_line(error))
        await self.end(firing, ())

    def by_port(self, result: Any) -> dict[str, Any]:
        """The result of `process` by port, if it is not a plain dict. None has no items; any other value is for the only output.

        Raises:
            LanemeshError: it is an awaitable, or the node does not have exactly one output.
        """
        if result is None:
            return {}
        if isawaitable(result):
            if iscoroutine(result):
                result.close()
            raise self._bad(
                f"process returned {type(result).__name__}, which must be awaited; write `async def process`"
            )
        if self._only_output:
            return {self._only_output: result}
        if isinstance(result, dict):
            return result
        raise self._bad(f"process returned {type(result).__name__}; return a dict of port to value, or None")

    def no_pair(self, value: Any) -> LanemeshError:
        """The error of a generator that yielded something else than a pair of port and value."""
        return self._bad(f'gen_process yielded {rendered(value)}; yield ("port", value)')

    def _bad(self, what: str) -> LanemeshError:
        message = f"{self._context.component} ({self._context.provider}): {what}."
        return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-result", message=message))


def one_line(error: Exception) -> str:
    """An error in one line: its message, after its type unless that is one of Lanemesh."""
    return Fault.from_exception(error).message


def outcome_of(error: BaseException | None) -> GroupOutcome:
    """The outcome of the groups that an error leaves open."""
    if error is None:
        return GroupOutcome.OK
    return GroupOutcome.CANCELLED if isinstance(error, asyncio.CancelledError) else GroupOutcome.ERROR


def _of_file(error: Exception, taken: TakenSet) -> Exception:
    """An error whose message begins with the name of the file that the items of the firing come from, if they have one; otherwise
    the error itself. What a node's own code raised, which has its traceback, stays as it is."""
    names = (str((item.envelope.metadata or {}).get(FILE_NAME, "")) for item in taken.values() if item.envelope)
    name = "".join(filter(str.isprintable, next(filter(None, names), "")[:MAX_FILE_NAME]))
    if not name or not isinstance(error, LanemeshError) or isinstance(error, LaneFault) or name in error.fault.message:
        return error
    named = type(error).__new__(type(error))  # its constructor may take something else than a fault
    named.__dict__.update(error.__dict__)
    message = f"{name}: {error.fault.message}"
    named.args, named.fault = (message,), replace(error.fault, message=message)
    named.__cause__, named.__context__ = error.__cause__, error.__context__
    named.__suppress_context__ = error.__suppress_context__
    return named.with_traceback(error.__traceback__)
