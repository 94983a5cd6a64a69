"""Admission control: a run reserves capacity on node servers when it starts, or waits in a queue until there is capacity. Of the
runs that have it a few are set up at a time, first come first served, so that many do not slow each other down."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import Feature
from lanemesh.v1 import registry_pb2

from lanemesh_orchestrator.registry.member import Load, Member
from lanemesh_orchestrator.registry.registry import Registry
from lanemesh_orchestrator.scheduling.requirements import (
    NoCapacity,
    NoServer,
    PlacementPolicy,
    Requirement,
    least_loaded,
)

MAX_WAITING = 1_000
"""Most runs that wait for capacity; further ones are refused."""
MOST_AT_ONCE = 4
"""Most runs that are set up at the same time."""
HOLD_SECONDS = 0.1
"""How long a run counts as being set up. One that takes longer, as with a model that loads, does not delay those behind it."""
MAX_PENDING = 10_000
"""Most runs that wait to be set up; further ones are refused."""
PAUSE_SECONDS = 1
"""The pause that a refused client is advised to make."""


@dataclass(slots=True, eq=False)
class Claim:
    """The requirements of a run, its position in the queue, and the servers assigned to it."""

    number: int
    """Runs that need the same servers get capacity in the order of their numbers."""
    requirements: Sequence[Requirement]
    without: set[Member] = field(default_factory=set)
    """Excluded servers, which were lost or are draining. A server that joins again is a new member."""
    full: set[str] = field(default_factory=set)
    """Servers that have rejected the run as full although the registry shows capacity."""
    servers: Mapping[str, Member] = field(default_factory=dict)
    """The server assigned to each component; empty until the claim is granted."""
    lack: NoServer | NoCapacity | None = None
    """Why no servers are assigned yet."""
    taken: list[tuple[Load, int]] = field(default_factory=list)
    """The reserved capacity, which `give_back` releases."""
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    seen: int = -1
    """The version of the registry when the claim was last tried."""


class AdmissionQueue:
    """The capacity of the node servers of a mesh, and the queue of the runs that wait for it.

    A waiting run blocks later runs from the servers that it waits for, so that it cannot starve. Later runs that can use other
    servers are admitted.
    """

    def __init__(self, registry: Registry, choose: PlacementPolicy = least_loaded) -> None:
        """`choose` decides which server of the registry runs which component."""
        self._registry = registry
        self._choose = choose
        self._queue: list[Claim] = []
        self._number = 0
        self._held: frozenset[str] = frozenset()
        """Servers that queued runs wait for."""
        self._watch: asyncio.Task[None] | None = None

    def claim(self, requirements: Sequence[Requirement]) -> Claim:
        """Reserves servers for the components of a new run, or enqueues it.

        Raises:
            NoServer: no server has the node type or the labels of a component.
            NoCapacity: the run would not fit even if all servers were idle.
            LanemeshError: more than 1,000 runs wait already.
        """
        self._number += 1
        claim = Claim(self._number, requirements)
        try:
            self._take(claim, self._held)
        except NoCapacity as lack:
            self._choose(requirements, self._registry.members.values(), idle=True)
            if len(self._queue) >= MAX_WAITING:
                message = f"{len(self._queue):,} runs already wait for capacity: {lack}"
                raise LanemeshError(
                    Fault(
                        code=Code.RESOURCE_EXHAUSTED, reason="no-capacity", message=message, retry_after=PAUSE_SECONDS
                    )
                ) from None
            self._enter(claim, lack)
        return claim

    def claim_again(self, claim: Claim) -> None:
        """Reserves new servers for a run in place of its earlier ones, or enqueues it at its old position."""
        self.give_back(claim)
        try:
            self._take(claim, self._held_before(claim))
        except (NoServer, NoCapacity) as lack:
            self._enter(claim, lack)

    def another(self, claim: Claim, component: str, gone: Callable[[registry_pb2.ServerInfo], bool]) -> Member:
        """Reserves another server for one component of a started run, and ignores the component's home. Never enqueues the run.

        Args:
            gone: whether a server is lost; such servers are not used.

        Raises:
            NoServer: no other server can run the component.
            NoCapacity: all servers that can run it are full.
        """
        requirements = [
            replace(requirement, home="", features=requirement.features | {Feature.RECOVERY})
            for requirement in claim.requirements
            if requirement.component == component
        ]
        members = [member for member in self._registry.members.values() if not gone(member.info)]
        member = self._choose(requirements, members)[component]
        claim.servers = {**claim.servers, component: member}
        claim.taken.append((member.load, 1))
        self._registry.take(member.load, 1)
        return member

    def give_back(self, claim: Claim) -> None:
        """Releases the capacity of a run and removes it from the queue."""
        if claim in self._queue:
            self._queue.remove(claim)
            self._registry.changes.fire()  # runs behind it may be admitted now
        taken, claim.taken = claim.taken, []
        for load, instances in taken:
            self._registry.take(load, -instances)

    def retry(self, claim: Claim) -> None:
        """Tries again the servers that had rejected the run as full."""
        claim.full.clear()
        claim.seen = -1
        self._registry.changes.fire()

    async def close(self) -> None:
        """Stops serving the queue. Every run must have ended."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    def _take(self, claim: Claim, held: Collection[str]) -> None:
        members = [member for member in self._registry.members.values() if member not in claim.without]
        claim.servers = self._choose(claim.requirements, members, full={*held, *claim.full})
        claim.lack = None
        by_server = Counter(claim.servers.values())
        for member, instances in by_server.items():
            claim.taken.append((member.load, instances))
            self._registry.take(member.load, instances)
        claim.granted.set()

    def _enter(self, claim: Claim, lack: NoServer | NoCapacity) -> None:
        claim.granted.clear()
        claim.lack, claim.seen = lack, self._registry.version
        insort(self._queue, claim, key=lambda one: one.number)
        self._held |= lack.servers if isinstance(lack, NoCapacity) else frozenset()
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._serve(), name="runs that wait for capacity")

    async def _serve(self) -> None:
        """Tries the queued runs after each change of the registry, until the queue is empty."""
        while self._queue:
            self._serve_once()
            if self._queue:
                await self._registry.changes.wait()

    def _serve_once(self) -> None:
        held: set[str] = set()
        for claim in list(self._queue):
            lack = claim.lack
            unchanged = claim.seen == self._registry.version
            if not (unchanged and isinstance(lack, NoCapacity) and lack.servers <= held):
                claim.seen = self._registry.version
                try:
                    self._take(claim, held)
                except (NoServer, NoCapacity) as found:
                    claim.lack = lack = found
                else:
                    self._queue.remove(claim)
                    continue
            if isinstance(lack, NoCapacity):
                held |= lack.servers
        self._held = frozenset(held)

    def _held_before(self, claim: Claim) -> frozenset[str]:
        """The servers that runs ahead of this one in the queue wait for."""
        before = (one for one in self._queue if one.number < claim.number)
        return frozenset(name for one in before if isinstance(one.lack, NoCapacity) for name in one.lack.servers)


class StartGate:
    """Admits runs to their set-up."""

    def __init__(self, most: int = MOST_AT_ONCE, hold_seconds: float = HOLD_SECONDS) -> None:
        """`most` runs at a time, each for `hold_seconds` at most."""
        self.active = 0
        """Number of runs that are being set up."""
        self.pending = 0
        """Number of runs that have not been set up yet."""
        self.hold_seconds = hold_seconds
        self._most = most
        self._queue: deque[asyncio.Future[None]] = deque()

    def enter(self) -> Ticket:
        """The ticket of a new run."""
        return Ticket(self)

    def check(self) -> None:
        """Raises LanemeshError if 10,000 runs wait already."""
        if self.pending >= MAX_PENDING:
            message = f"{self.pending:,} runs already wait to be started; retry in {PAUSE_SECONDS} s, or start fewer runs at once"
            raise LanemeshError(
                Fault(code=Code.RESOURCE_EXHAUSTED, reason="too-many", message=message, retry_after=PAUSE_SECONDS)
            )

    async def admit(self) -> None:
        """Waits for a turn, in the order of the calls."""
        if self.active < self._most:
            self.active += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.release()  # it got its turn in the same moment
            raise  # a cancelled waiter stays in the queue until `release` skips it

    def release(self) -> None:
        """Ends a turn: the first one that waits gets it."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.active -= 1


class Ticket:
    """The admission of one run, which may be set up several times if servers refuse it."""

    def __init__(self, gate: StartGate) -> None:
        self._gate = gate
        self._timer: asyncio.TimerHandle | None = None
        self._is_pending = True
        gate.pending += 1

    async def turn(self) -> None:
        """Waits until the run may be set up. Its turn ends with `leave`, or after `hold_seconds`."""
        await self._gate.admit()
        self._admitted()
        self._timer = asyncio.get_running_loop().call_later(self._gate.hold_seconds, self.leave)

    def leave(self) -> None:
        """Ends the turn of the run, if it has one."""
        self._admitted()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._gate.release()

    def _admitted(self) -> None:
        if self._is_pending:
            self._is_pending = False
            self._gate.pending -= 1
