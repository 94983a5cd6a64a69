"""The assignment of one run's components to servers: made when it starts, and again if servers refuse it before it begins."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from lanemesh._aio.backoff import Backoff
from lanemesh.faults import Fault, LanemeshError
from lanemesh.model_users import settings_digest
from lanemesh.node.packages import install_command
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.pipeline import Graph, ServerAddress
from lanemesh_orchestrator.pipeline.plan import needed_features
from lanemesh_orchestrator.registry.member import Member
from lanemesh_orchestrator.registry.registry import LOCAL as LOCAL
from lanemesh_orchestrator.scheduling.admission import AdmissionQueue
from lanemesh_orchestrator.scheduling.gpus import GpuNeed
from lanemesh_orchestrator.scheduling.requirements import NoCapacity, NoServer, Requirement

WAIT_SECONDS = 60.0
"""Longest total time that a run may wait for capacity."""
MAX_ATTEMPTS = 20
"""Most attempts to place a run; after them it fails with the faults of the last attempt."""
FULL_SECONDS = (0.25, 5.0)
"""Bounds of the first pause and of every pause before a full server is tried again. It may be in use by other orchestrators."""

_LOST = frozenset({"server-lost", "cancelled"})
"""Reasons of the faults of a server that is lost or is stopping."""
_REFUSALS = frozenset({"server-full", "draining", *_LOST})
"""Reasons of faults after which a run may be placed on other servers, because no part of it has begun."""


class Assignment:
    """The servers of one run."""

    def __init__(
        self,
        admission: AdmissionQueue,
        graph: Graph,
        *,
        address: str,
        embedded: bool,
        homes: Mapping[str, str] | None = None,
    ) -> None:
        """Reserves servers for the run, or enqueues it.

        Args:
            address: of the orchestrator's own host, which runs boundary components.
            embedded: the orchestrator's own host runs all components without a home.
            homes: the required server of a component; its labels are ignored then.

        Raises:
            LanemeshError: no server can run one of its components, or too many runs wait.
        """
        self.is_local = embedded and not homes
        """Whether this process runs all components, so that none can be placed again."""
        self._admission = admission
        self._graph = graph
        self._local = ServerAddress(LOCAL, address)
        self._claim = admission.claim(_requirements_of(graph, embedded=embedded, homes=homes or {}))
        self._attempts = 0
        self._waited = 0.0
        self._backoff = Backoff(*FULL_SECONDS)
        self._pause = self._backoff.next()

    @property
    def waiting(self) -> bool:
        """Whether the run is queued and has no servers."""
        return not self._claim.granted.is_set()

    async def ready(self, report: Callable[[str], None]) -> None:
        """Waits until the run has servers, for 60 s at most in total. Calls `report` with the reason if the run has to wait.

        Raises:
            LanemeshError: the run got no servers in this time.
        """
        if not self.waiting:
            return
        lack = self._claim.lack
        assert lack is not None, "a waiting claim has a lack"
        report(f"it waits for {'capacity' if isinstance(lack, NoCapacity) else 'a node server'}: {lack}")
        loop = asyncio.get_running_loop()
        began = loop.time()
        retry = loop.call_later(self._pause, self._admission.retry, self._claim) if self._claim.full else None
        try:
            async with asyncio.timeout(WAIT_SECONDS - self._waited):
                await self._claim.granted.wait()
        except TimeoutError:
            raise self.timed_out(WAIT_SECONDS) from None
        finally:
            self._waited += loop.time() - began
            if retry is not None:
                retry.cancel()

    def timed_out(self, seconds: float) -> LanemeshError:
        """The error of a run that was not placed within this number of seconds."""
        lack = self._claim.lack
        assert lack is not None, "a waiting claim has a lack"
        return LanemeshError(replace(lack.fault, message=f"the run was not placed within {seconds:g} s: {lack}"))

    def servers(self) -> dict[str, ServerAddress]:
        """The address of the server of each component."""
        found = dict.fromkeys(self._graph.components, self._local)
        found.update(
            {
                name: ServerAddress(its.name, its.info.address, features=frozenset(its.features))
                for name, its in self._claim.servers.items()
            }
        )
        return found

    def placements(self) -> list[update_pb2.Placement]:
        """The server of each component, in the form that is sent to clients."""
        return [self._placement(name, self._claim.servers.get(name)) for name in self._graph.components]

    def _placement(self, component: str, member: Member | None) -> update_pb2.Placement:
        provider = self._graph.components[component].provider
        where = update_pb2.Placement(component=component, provider=provider, server=LOCAL, pid=os.getpid())
        if member is not None:
            where.server, where.address, where.pid = member.name, member.info.address, member.info.pid
        return where

    def reassign(self, component: str, lost: Collection[update_pb2.Placement]) -> update_pb2.Placement:
        """Reserves another server, none of the lost ones, for a component that is placed again.

        Raises:
            LanemeshError: no other server can run the component, or all of them are full.
        """
        gone = {(where.server, where.address, where.pid) for where in lost}
        member = self._admission.another(
            self._claim, component, lambda info: (info.name, info.address, info.pid) in gone
        )
        return self._placement(component, member)

    def refused(self, faults: Mapping[str, list[Fault]]) -> bool:
        """Handles the faults of servers that did not place the run. Returns whether it may be placed again: other servers are
        reserved, or the run is queued. Returns False if a server was lost and no other can replace it, because the fault of the
        lost server explains more than a time-out."""
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
        """Releases the capacity of the run, which has ended."""
        self._admission.give_back(self._claim)


def _requirements_of(graph: Graph, *, embedded: bool, homes: Mapping[str, str]) -> Sequence[Requirement]:
    if homes:
        return list(_requirements(graph, embedded=embedded, homes=homes))
    return graph.once(("requirements", embedded), lambda: list(_requirements(graph, embedded=embedded, homes={})))


def _requirements(graph: Graph, *, embedded: bool, homes: Mapping[str, str]) -> Iterator[Requirement]:
    """Yields the requirements of the components that need a node server."""
    needed = needed_features(graph)
    for component in graph.components.values():
        home = homes.get(component.id, "")
        features = frozenset[str](needed[component.id])
        install = install_command(component.manifest) if component.manifest.packages else ""
        if home:  # it has no choice
            yield Requirement(component.id, component.provider, home=home, features=features, install=install)
        elif not embedded and not component.manifest.boundary:
            yield Requirement(
                *(component.id, component.provider, component.labels),
                features=features,
                install=install,
                settings=settings_digest(component.provider, component.config),
                gpu=GpuNeed.of(component.manifest),
            )
