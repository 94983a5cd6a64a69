"""The firings of a `process` or `gen_process` node: takes sets of inputs, runs the body on each, sends what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from lanemesh.lanes.faults import Code, Fault, LanemeshError
from lanemesh.lanes.inbox import Inbox
from lanemesh.lanes.items import Envelope, Group, GroupOutcome, LaneType
from lanemesh.node.bodies import Body
from lanemesh.node.context import Context
from lanemesh.node.copies import Copies
from lanemesh.node.deadline import Deadline
from lanemesh.node.firing import OnAny, ZipAll
from lanemesh.node.groups import FiringGroups, KeptGroups
from lanemesh.node.lists import collect_lists
from lanemesh.node.node import Kind, Node
from lanemesh.node.outputs import Outputs
from lanemesh.node.taking import Over, PolicyTaking, TakenSet, Taking, Valueless


@dataclass(slots=True)
class Firing:
    """One firing."""

    number: int
    """From 1."""
    node: Any
    """The copy of the node that it runs on."""
    taken: TakenSet
    """The items newly taken for it."""
    group: Group | None = None
    """The group of the only one of them that has one."""


class Firings:
    """Fires one node until nothing more will come."""

    def __init__(
        self,
        node: Node,
        context: Context,
        inbox: Inbox,
        outputs: Outputs,
        body: Body,
        *,
        sync_mode: str,
        one_inputs: frozenset[str],
        deadline: Deadline,
    ) -> None:
        self.count = 0
        """Firings so far."""
        self._class = type(node)
        self._specs = self._class.inputs_
        self._context = context
        self._inbox = inbox
        self._outputs = outputs
        self._body = body
        self._sync_mode = sync_mode
        self._one_inputs = one_inputs
        self._deadline = deadline
        self._copies = Copies(node)
        self._latest: dict[str, Any] = {}
        self._kept = KeptGroups(outputs)
        self._pieces = frozenset(
            name
            for name, spec in self._class.outputs_.items()
            if spec.pieces or outputs.lane_type(name) is LaneType.ANSWERS
        )

    async def run(self) -> Over:
        """Fires until it is over.

        Raises:
            LaneFault: a producer or a consumer failed.
            LanemeshError: the node does something that it may not.
            Exception: whatever the body raises.
        """
        self._latest.update(await collect_lists(self._context.component, self._inbox, self._specs))
        singles = {name: spec for name, spec in self._specs.items() if not spec.is_list}
        connected = [name for name in singles if self._inbox.port(name).edges]
        if connected:
            return await self._fire_all(self._taking(connected))
        missing = [name for name, spec in singles.items() if spec.required]
        if missing:
            return Over(True, f'the input "{missing[0]}" is not connected')
        await self._fire({})
        return Over(False, "")

    async def close(self, outcome: GroupOutcome) -> None:
        """Ends what the node has begun to pass on and will not end any more."""
        with suppress(LanemeshError):
            await self._kept.close(outcome)

    def _taking(self, names: list[str]) -> Taking:
        if self._sync_mode == "zip_all":
            zipping = ZipAll(self._one_inputs & frozenset(names), frozenset(names))
            return PolicyTaking(self._inbox, names, zipping, waits_for_all=True)
        required = frozenset(name for name in names if self._specs[name].required)
        return PolicyTaking(self._inbox, names, OnAny(required), waits_for_all=False)

    async def _fire_all(self, taking: Taking) -> Over:
        while True:
            step = taking.next()
            if step is None:
                with self._context.waits.waiting(taking.waits_for):
                    await self._inbox.changed()
            elif isinstance(step, Valueless):
                await self._pass_on(step)
            elif isinstance(step, Over):
                if step.detail and not step.skipped:
                    self._context.log.warning("ended with %s", step.detail)
                return step
            else:
                await self._fire(step)
                self._inbox.mark_processed()
                if self._outputs.deserted and not self._class.runs_to_end:
                    return Over(False, "")

    async def _pass_on(self, step: Valueless) -> None:
        """Sends on what an item without a value ends."""
        envelope = step.item.envelope
        if envelope is not None and envelope.group is not None:
            await self._kept.pass_on(envelope.group)

    async def _fire(self, taken: TakenSet) -> None:
        firing = self._begin(taken)
        if self._class.kind_ is Kind.PROCESS:
            async with self._deadline.of("firing"):
                await self._process(firing)
            return
        groups = FiringGroups(self._context.component, firing.number, self._outputs)
        try:
            async with self._deadline.of("firing"):
                await self._generate(firing, groups)
                await groups.close(GroupOutcome.OK)
        except (Exception, asyncio.CancelledError) as error:
            await groups.close(outcome_of(error))
            raise

    def _begin(self, taken: TakenSet) -> Firing:
        """Checks what was taken, and makes the copy of the node that fires on it."""
        groups = []
        for name, item in taken.items():
            self._latest[name] = self._specs[name].check(item.value, self._context.component)
            if item.envelope is not None and item.envelope.group is not None:
                groups.append(item.envelope.group)
        self.count += 1
        group = groups[0] if len(groups) == 1 else None
        return Firing(self.count, self._copies.fresh(self._latest), taken, group)

    async def _process(self, firing: Firing) -> None:
        result = await self._body.process(firing.node)
        if result is None:
            result = {}
        if not isinstance(result, dict):
            raise self._bad(f"process returned {type(result).__name__}; return a dict of port to value, or None")
        envelope = Envelope(group=firing.group) if firing.group is not None else None
        for port, value in result.items():
            await self._outputs.emit(port, value, envelope)
        await self._end(firing, result)

    async def _generate(self, firing: Firing, groups: FiringGroups) -> None:
        emit, pieces = self._outputs.emit, self._pieces
        async with aclosing(self._body.generate(firing.node)) as pairs:
            async for pair in pairs:
                if type(pair) is not tuple or len(pair) != 2:
                    raise self._bad(f'gen_process yielded {pair!r:.80}; yield ("port", value)')
                port, value = pair
                if await emit(port, value, groups.piece(port, value) if port in pieces else None):
                    continue
                if self._outputs.deserted and not self._class.runs_to_end:
                    return

    async def _end(self, firing: Firing, sent: Collection[str]) -> None:
        """Ends a firing that has sent items by these outputs."""
        if firing.group is not None:
            await self._kept.pass_on(firing.group, sent)

    def _bad(self, what: str) -> LanemeshError:
        message = f"{self._context.component} ({self._context.provider}): {what}."
        return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-result", message=message))


def outcome_of(error: BaseException | None) -> GroupOutcome:
    """How the groups end that an error leaves open."""
    if error is None:
        return GroupOutcome.OK
    return GroupOutcome.CANCELLED if isinstance(error, asyncio.CancelledError) else GroupOutcome.ERROR
