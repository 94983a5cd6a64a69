"""Where the components of one run live: chosen as it starts, and chosen anew when servers refuse it before it has begun."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

from lanemesh._aio.backoff import Backoff
from lanemesh.faults import Fault, LanemeshError
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.pipeline import Graph, ServerAddress
from lanemesh_orchestrator.pipeline.plan import needed_features
from lanemesh_orchestrator.registry.registry import LOCAL as LOCAL
from lanemesh_orchestrator.registry.registry import Member
from lanemesh_orchestrator.scheduling.admission import AdmissionQueue
from lanemesh_orchestrator.scheduling.requirements import NoCapacity, NoServer, Requirement

WAIT_SECONDS = 60.0
"""How long a run may wait for room in all."""
MAX_ATTEMPTS = 20
"""How often a run is placed before it fails with what the last servers had against it."""
FULL_SECONDS = (0.25, 5.0)
"""Bounds of the first pause and of every pause before a server that was full is asked again; others than this orchestrator use
it."""

_LOST = frozenset({"server-lost", "cancelled"})
"""Reasons of the faults of a server that is gone, or is about to be."""
_REFUSALS = frozenset({"server-full", "draining", *_LOST})
"""Reasons of faults after which a run may be placed elsewhere: none of it has begun."""


class Assignment:
    """The servers of one run."""

    def __init__(
        self,
        room: AdmissionQueue,
        graph: Graph,
        *,
        address: str,
        embedded: bool,
        homes: Mapping[str, str] | None = None,
    ) -> None:
        """Finds the run servers or a place in line.

        Args:
            address: where the orchestrator's own host is dialled, which boundary components live on.
            embedded: all components live there, but for those with a home.
            homes: the only server that will do for a component, whatever its labels.

        Raises:
            LanemeshError: no server takes one of its components, or too many runs wait.
        """
        self._admission = room
        self._graph = graph
        self._local = ServerAddress(LOCAL, address)
        self._claim = room.claim(list(_requirements(graph, embedded=embedded, homes=homes or {})))
        self._attempts = 0
        self._waited = 0.0
        self._backoff = Backoff(*FULL_SECONDS)
        self._pause = self._backoff.next()

    @property
    def waiting(self) -> bool:
        """It is in line, and has no servers."""
        return not self._claim.granted.is_set()

    async def ready(self, told: Callable[[str], None]) -> None:
        """Waits until it has servers, for 60 s at most over the whole run. `told` gets what it waits for, in words, if it must.

        Raises:
            LanemeshError: there were none in this time.
        """
        if not self.waiting:
            return
        lack = self._claim.lack
        assert lack is not None, "who has no servers lacks something"
        told(f"it waits for {'capacity' if isinstance(lack, NoCapacity) else 'a node server'}: {lack}")
        loop = asyncio.get_running_loop()
        began = loop.time()
        asking = loop.call_later(self._pause, self._admission.retry, self._claim) if self._claim.full else None
        try:
            async with asyncio.timeout(WAIT_SECONDS - self._waited):
                await self._claim.granted.wait()
        except TimeoutError:
            raise self.timed_out(WAIT_SECONDS) from None
        finally:
            self._waited += loop.time() - began
            if asking is not None:
                asking.cancel()

    def timed_out(self, seconds: float) -> LanemeshError:
        """How a run fails that has waited for so long."""
        lack = self._claim.lack
        assert lack is not None, "who has no servers lacks something"
        return LanemeshError(replace(lack.fault, message=f"the run was not placed within {seconds:g} s: {lack}"))

    def servers(self) -> dict[str, ServerAddress]:
        """Where each component lives."""
        found = dict.fromkeys(self._graph.components, self._local)
        found.update(
            {
                name: ServerAddress(its.name, its.info.address, features=frozenset(its.features))
                for name, its in self._claim.servers.items()
            }
        )
        return found

    def placements(self) -> list[update_pb2.Placement]:
        """The same for clients."""
        return [self._placement(name, self._claim.servers.get(name)) for name in self._graph.components]

    def _placement(self, component: str, member: Member | None) -> update_pb2.Placement:
        provider = self._graph.components[component].provider
        where = update_pb2.Placement(component=component, provider=provider, server=LOCAL, pid=os.getpid())
        if member is not None:
            where.server, where.address, where.pid = member.name, member.info.address, member.info.pid
        return where

    def reassign(self, component: str, lost: Collection[update_pb2.Placement]) -> update_pb2.Placement:
        """Another server for a component that is placed again, none of these lost ones; it is this run's from now on.

        Raises:
            LanemeshError: there is none, or none has room.
        """
        gone = {(where.server, where.address, where.pid) for where in lost}
        member = self._admission.another(
            self._claim, component, lambda info: (info.name, info.address, info.pid) in gone
        )
        return self._placement(component, member)

    def refused(self, faults: Mapping[str, list[Fault]]) -> bool:
        """Some servers did not place the run, with these faults. Returns whether it may be placed again: it has others now, or is
        in line. Not if a server was lost and there is no other: its fault says more than the end of a wait."""
        self._attempts += 1
        reasons = {server: {fault.reason for fault in found} for server, found in faults.items() if found}
        if self._attempts >= MAX_ATTEMPTS or LOCAL in reasons or not set().union(*reasons.values()) <= _REFUSALS:
            return False
        full = {server for server, found in reasons.items() if found == {"server-full"}}
        self._claim.full |= full
        self._claim.without |= {
            member for member in self._claim.servers.values() if member.name in reasons.keys() - full
        }
        self._admission.claim_again(self._claim)
        if full:
            self._pause = self._backoff.next()
        lost = any(found & _LOST for found in reasons.values())
        return not (lost and isinstance(self._claim.lack, NoServer))

    def end(self) -> None:
        """The run is over: what it had is free again."""
        self._admission.give_back(self._claim)


def _requirements(graph: Graph, *, embedded: bool, homes: Mapping[str, str]) -> Iterator[Requirement]:
    """The components that need a node server."""
    needed = needed_features(graph)
    for component in graph.components.values():
        home = homes.get(component.id, "")
        features = frozenset[str](needed[component.id])
        if home:
            yield Requirement(component.id, component.provider, home=home, features=features)
        elif not embedded and not component.manifest.boundary:
            yield Requirement(component.id, component.provider, component.labels, features=features)
