"""Room on node servers: taken by runs as they start, waited for in line where there is none."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import Feature
from lanemesh.v1 import registry_pb2

from lanemesh_orchestrator.registry.registry import Load, Member, Registry
from lanemesh_orchestrator.scheduling.requirements import (
    NoCapacity,
    NoServer,
    PlacementPolicy,
    Requirement,
    least_loaded,
)

MAX_WAITING = 1_000
"""Most runs that wait for capacity; further ones are refused."""


@dataclass(slots=True, eq=False)
class Claim:
    """What a run needs, its place in line, and the servers that it was given."""

    number: int
    """Runs get room in the order of their numbers, as far as they want the same servers."""
    requirements: Sequence[Requirement]
    without: set[Member] = field(default_factory=set)
    """Servers that will not do: they were lost, or drain. One that joins again is another."""
    full: set[str] = field(default_factory=set)
    """Servers that have said that they are full, though they are not known to be."""
    servers: Mapping[str, Member] = field(default_factory=dict)
    """The server of each component, once it has them."""
    lack: NoServer | NoCapacity | None = None
    """Why it has none yet."""
    taken: list[tuple[Load, int]] = field(default_factory=list)
    """What is to be given back."""
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    seen: int = -1
    """The registry's version when it was last looked at."""


class AdmissionQueue:
    """The room on the node servers of a mesh, and the line of runs that wait for it.

    A run that waits keeps others from the servers that it waits for, so that none is overtaken for ever; runs that can live
    elsewhere go on.
    """

    def __init__(self, registry: Registry, choose: PlacementPolicy = least_loaded) -> None:
        """`choose` decides which server of the registry runs which component."""
        self._registry = registry
        self._choose = choose
        self._line: list[Claim] = []
        self._number = 0
        self._held: frozenset[str] = frozenset()
        """Servers that runs in line wait for."""
        self._watch: asyncio.Task[None] | None = None

    def claim(self, requirements: Sequence[Requirement]) -> Claim:
        """Servers for the components of a new run, or a place in line.

        Raises:
            NoServer: a component's node type or labels are nowhere.
            NoCapacity: idle servers would have no room for it either.
            LanemeshError: more than 1,000 runs wait already.
        """
        self._number += 1
        claim = Claim(self._number, requirements)
        try:
            self._take(claim, self._held)
        except NoCapacity as lack:
            self._choose(requirements, self._registry.members.values(), idle=True)
            if len(self._line) >= MAX_WAITING:
                message = f"{len(self._line):,} runs already wait for capacity: {lack}"
                raise LanemeshError(
                    Fault(code=Code.RESOURCE_EXHAUSTED, reason="no-capacity", message=message)
                ) from None
            self._enter(claim, lack)
        return claim

    def claim_again(self, claim: Claim) -> None:
        """Servers for a run that had others, or its old place in line."""
        self.give_back(claim)
        try:
            self._take(claim, self._held_before(claim))
        except (NoServer, NoCapacity) as lack:
            self._enter(claim, lack)

    def another(self, claim: Claim, component: str, gone: Callable[[registry_pb2.ServerInfo], bool]) -> Member:
        """A further server for one component of a run that has begun, other than those that are gone, also if it had a home. Nobody
        waits for that.

        Raises:
            NoServer: there is none.
            NoCapacity: those that there are are full.
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
        """The run is over, or needs other servers. It waits no more."""
        if claim in self._line:
            self._line.remove(claim)
            self._registry.changes.fire()  # those behind it may go on
        taken, claim.taken = claim.taken, []
        for load, instances in taken:
            self._registry.take(load, -instances)

    def retry(self, claim: Claim) -> None:
        """A server that has said that it is full may not be so any more."""
        claim.full.clear()
        claim.seen = -1
        self._registry.changes.fire()

    async def close(self) -> None:
        """Watches no more. Every run has ended."""
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
        insort(self._line, claim, key=lambda one: one.number)
        self._held |= lack.servers if isinstance(lack, NoCapacity) else frozenset()
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._serve(), name="runs that wait for capacity")

    async def _serve(self) -> None:
        """Serves the line whenever something has changed, until nobody waits."""
        while self._line:
            self._serve_once()
            if self._line:
                await self._registry.changes.wait()

    def _serve_once(self) -> None:
        held: set[str] = set()
        for claim in list(self._line):
            lack = claim.lack
            unchanged = claim.seen == self._registry.version
            if not (unchanged and isinstance(lack, NoCapacity) and lack.servers <= held):
                claim.seen = self._registry.version
                try:
                    self._take(claim, held)
                except (NoServer, NoCapacity) as found:
                    claim.lack = lack = found
                else:
                    self._line.remove(claim)
                    continue
            if isinstance(lack, NoCapacity):
                held |= lack.servers
        self._held = frozenset(held)

    def _held_before(self, claim: Claim) -> frozenset[str]:
        """Servers that those wait for that are before it in line."""
        before = (one for one in self._line if one.number < claim.number)
        return frozenset(name for one in before if isinstance(one.lack, NoCapacity) for name in one.lack.servers)
