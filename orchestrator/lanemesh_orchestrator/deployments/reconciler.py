"""Keeps one pipeline warm on all servers that may run it, while servers join and leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from lanemesh._aio.backoff import Backoff
from lanemesh._aio.signal import Signal
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import deployment_pb2, node_pb2, update_pb2

from lanemesh_orchestrator.deployments.preload import Preload
from lanemesh_orchestrator.deployments.readiness import Readiness, ServerStanding, in_the_way, readiness
from lanemesh_orchestrator.deployments.servers import Servers
from lanemesh_orchestrator.pipeline.graph import Graph
from lanemesh_orchestrator.registry.member import Member

RETRY_SECONDS = (0.2, 5.0)
"""First and maximum pause before a retry for a missing server; one that joins is used at once."""

log = logging.getLogger("lanemesh.deployments")


class DeploymentReconciler:
    """Keeps one pipeline warm, from `start` to `close`."""

    def __init__(self, graph: Callable[[], Graph], servers: Servers) -> None:
        """`graph` returns the current graph of the pipeline, or raises PipelineInvalid."""
        self.error: LanemeshError | None = None
        """Why the needed servers could not be determined the last time."""
        self.changed = Signal()
        """Fires when `readiness` may have changed."""
        self._graph = graph
        self._servers = servers
        self._where: Mapping[str, Sequence[str]] = {}
        self._providers: Mapping[str, str] = {}
        self._places: dict[str, tuple[Member | None, Preload]] = {}
        self._name = ""
        self._task: asyncio.Task[None] | None = None

    def start(self, name: str) -> None:
        """Begins. `name` is for logs."""
        self._name = name
        self._task = asyncio.create_task(self._keep(), name=f"keep {name} warm")

    async def close(self) -> None:
        """Ends the preloads; resources with other users stay loaded."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.error = stopped()
        self.changed.fire()
        await self._drop(self._places)

    def readiness(self) -> Readiness:
        """Whether all is warm, or the reason why not."""
        return readiness(self.error.fault if self.error is not None else None, self._standings(), self._where)

    def placements(self) -> list[update_pb2.Placement]:
        """Where components are warm now, without those in the orchestrator."""
        found = []
        for component, servers in self._where.items():
            for server in servers:
                _, place = self._places.get(server, (None, None))
                placement = self._servers.placement(component, self._providers[component], server)
                if place is not None and place.warm and placement is not None:
                    found.append(placement)
        return found

    async def until_ready(self) -> None:
        """Waits until all is warm.

        Raises:
            LanemeshError: the needed servers cannot be determined, or it was closed.
            NotReady: a fault prevents it that does not resolve itself.
        """
        while self.readiness().state != deployment_pb2.DEPLOYMENT_STATE_READY:
            if self.error is not None:
                raise self.error
            if faults := in_the_way(self._standings(), self._where):
                raise NotReady(faults)
            await self.changed.wait()

    def _standings(self) -> list[ServerStanding]:
        return [
            ServerStanding(server, place.warm, place.faults, place.failures)
            for server, (_, place) in self._places.items()
        ]

    async def _keep(self) -> None:
        backoff = Backoff(*RETRY_SECONDS)
        reported = ""
        while True:
            before = self._servers.standing()
            try:
                await self._review()
                self.error = None
            except LanemeshError as error:
                self.error = error
            except Exception as error:  # a fault of the orchestrator itself must not end the preload
                log.exception("keeping %s warm", self._name)
                self.error = LanemeshError(Fault.from_exception(error, component="orchestrator"))
            self.changed.fire()
            why = str(self.error or "")
            if why and why != reported:
                log.warning("%s: %s", self._name, why)
            reported = why
            if self._servers.standing() != before:
                continue
            if self.error is None and all(self._where.values()):
                backoff.reset()
                await self._servers.until_changed(before)
            else:
                await self._servers.registry.changes.wait_at_most(backoff.next())

    async def _review(self) -> None:
        """Closes streams that are no longer needed, and opens missing ones."""
        await self._drop([name for name, (member, _) in self._places.items() if not self._takes_runs(name, member)])
        graph = self._graph()
        where, places = await self._servers.choose(graph, list(self._places))
        self._where = where
        self._providers = {component.id: component.provider for component in graph.components.values()}
        await self._drop([name for name, (_, place) in self._places.items() if place.place != places.get(name)])
        for name, place in places.items():
            if name not in self._places:
                self._add(name, place)

    def _takes_runs(self, server: str, member: Member | None) -> bool:
        return self._servers.takes_runs(server, member)

    def _add(self, server: str, place: node_pb2.Place) -> None:
        warm = Preload(self._name, server, place, self._servers.dial, self.changed.fire)
        self._places[server] = (self._servers.member(server), warm)

    async def _drop(self, names: Sequence[str] | Mapping[str, object]) -> None:
        gone = list(names)
        await asyncio.gather(*(self._places[name][1].close() for name in gone))
        for name in gone:
            del self._places[name]


def stopped() -> LanemeshError:
    """The fault that an orchestrator accepts no deployments because it stops."""
    return LanemeshError(Fault(code=Code.UNAVAILABLE, reason="stopping", message="the orchestrator stops"))


class NotReady(Exception):
    """A pipeline cannot be made ready."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults[0].message)
        self.faults = faults
        """All faults."""
