"""Takes the items of successive firings from the ports of a node, and collects its list inputs before the first firing.

The firing loop uses ports only through `Taking`: it reports waiting items, takes items and detects the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import ABSENT, Item
from lanemesh.lanes.inbox.inbox import Inbox, Port
from lanemesh.node.firing.policies import Done, Fire, FiringPolicy, PortView
from lanemesh.node.ports import InputSpec
from lanemesh.node.waits import Wait, Waits

TakenSet = dict[str, Item]
"""The items newly taken for one firing, by input."""


@dataclass(frozen=True, slots=True)
class Valueless:
    """An item without a value was taken. It only ends something, and causes no firing."""

    port: str
    item: Item


@dataclass(frozen=True, slots=True)
class NoMoreFirings:
    """There will be no further firing."""

    skipped: bool
    """The node never fired, because a required input ended without an item."""
    detail: str
    """Explanation for the node's last update."""


class Taking(Protocol):
    """Takes items from ports. Items that were not taken count against the limits of their edges."""

    begun: bool
    """An item was taken."""

    def next(self) -> TakenSet | Valueless | NoMoreFirings | None:
        """The next step. None: nothing can be taken before a change; `waits_for` names it.

        Raises:
            LaneFault: a producer failed, and all its items have been taken.
        """

    @property
    def waits_for(self) -> Wait:
        """The change that a further firing requires."""


def newest_value(port: Port) -> Any:
    """The value of the newest waiting item of a port; ABSENT if none waits."""
    with suppress(IndexError, RuntimeError):  # worker threads call this too, while the event loop takes and puts items
        for entry in reversed(port.entries):
            if entry[2] is not ABSENT:
                return entry[2]
    return ABSENT


class SingleTaking:
    """Takes one item after the other from the only connected input."""

    def __init__(self, inbox: Inbox, name: str, *, required: bool) -> None:
        self._port = inbox.port(name)
        self._name = name
        self._required = required
        self.begun = False
        self._waits_for = Wait(any_inputs=(name,))

    def next(self) -> TakenSet | Valueless | NoMoreFirings | None:
        """The next step."""
        port = self._port
        if port.entries:
            item = port.take()
            if item.value is ABSENT:
                return Valueless(self._name, item)
            self.begun = True
            return {self._name: item}
        port.raise_fault()
        if not port.ended:
            return None
        if self.begun or not self._required:
            return NoMoreFirings(False, "")
        return NoMoreFirings(True, f'the required input "{self._name}" ended without an item')

    @property
    def waits_for(self) -> Wait:
        """The change that a further firing requires."""
        return self._waits_for


class PolicyTaking:
    """Takes the items that a firing policy selects."""

    def __init__(
        self,
        inbox: Inbox,
        names: list[str],
        policy: FiringPolicy,
        *,
        waits_for_all: bool,
        reused: frozenset[str] = frozenset(),
    ) -> None:
        """`reused` are the inputs whose first item is used in all firings."""
        self._ports = {name: inbox.port(name) for name in names}
        self._policy = policy
        self._waits_for_all = waits_for_all
        self._reused = reused
        self.begun = False

    def next(self) -> TakenSet | Valueless | NoMoreFirings | None:
        """The next step."""
        ports = self._ports
        for name, port in ports.items():
            if port.entries and port.entries[0][2] is ABSENT:
                return Valueless(name, port.take())
        decision = self._policy.decide({name: PortView(port.head, port.ended) for name, port in ports.items()})
        if isinstance(decision, Fire):
            self.begun = True
            return {name: ports[name].take() for name in decision.take}
        if isinstance(decision, Done):
            for port in ports.values():
                port.raise_fault()
            return _over(decision, ports)
        for port in ports.values():
            if not port.entries:
                port.raise_fault()
        return None

    @property
    def waits_for(self) -> Wait:
        """The change that a further firing requires."""
        there = self._reused if self.begun else frozenset()
        missing = tuple(name for name, port in self._ports.items() if not port.entries and name not in there)
        return Wait(all_inputs=missing) if self._waits_for_all else Wait(any_inputs=missing)


def _over(done: Done, ports: Mapping[str, Port]) -> NoMoreFirings:
    counts = ", ".join(f"{len(port.entries)} on {name}" for name, port in ports.items() if port.entries)
    if done.skipped_for:
        waited = f"; items that waited: {counts}" if counts else ""
        return NoMoreFirings(True, f'the required input "{done.skipped_for}" ended without an item{waited}')
    return NoMoreFirings(False, f"items left over: {counts}" if counts else "")


MAX_LIST_ITEMS = 100_000
"""Most items that a list input collects."""
MAX_LIST_BYTES = 64 * 1024 * 1024
"""Most bytes that a list input collects: 64 MiB."""


async def collect_lists(component: str, inbox: Inbox, specs: Mapping[str, InputSpec], waits: Waits) -> dict[str, Any]:
    """The values of every list input in arrival order, once all these inputs have ended. `waits` records the wait.

    Raises:
        LanemeshError: a list exceeds its limit, or a value is not of the declared type.
        LaneFault: a producer failed.
    """
    names = [name for name, spec in specs.items() if spec.is_list]
    if not names:
        return {}
    lists: dict[str, list[Any]] = {name: [] for name in names}
    held = 0
    while True:
        port = inbox.first_waiting(names)
        if port is not None:
            item = port.take()
            if item.value is ABSENT:
                continue
            held += item.size
            lists[port.name].append(specs[port.name].check(item.value, component))
            if len(lists[port.name]) > MAX_LIST_ITEMS or held > MAX_LIST_BYTES:
                raise _too_long(f"{component}.{port.name}", len(lists[port.name]), held)
            continue
        for name in names:
            inbox.port(name).raise_fault()
        if all(inbox.port(name).ended for name in names):
            return lists
        going = [name for name in names if not inbox.port(name).ended]
        with waits.waiting(Wait(all_inputs=tuple(going))):  # an item does not suffice: each of them has to end
            await inbox.changed(going)


def _too_long(where: str, items: int, held: int) -> LanemeshError:
    return LanemeshError(
        Fault(
            code=Code.RESOURCE_EXHAUSTED,
            reason="list-too-long",
            message=f"the list input {where} collected {items:,} items and {held:,} bytes; its limit "
            f"is {MAX_LIST_ITEMS:,} items and {MAX_LIST_BYTES:,} bytes. Use run(), which takes items when they arrive",
        )
    )
