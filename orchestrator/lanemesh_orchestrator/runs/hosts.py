"""The hosts of one run: opened by its plan, probed, released and stopped together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from lanemesh.faults import LanemeshError
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline import Graph, ServerAddress, plan
from lanemesh_orchestrator.runs.host_handle import HostHandle
from lanemesh_orchestrator.scheduling.assignment import LOCAL

if TYPE_CHECKING:
    from lanemesh_orchestrator.runs.steps import Steps

ON_THEIR_WAY_SECONDS = 1.0
"""How much longer the targets of a failed run may go on, while other servers stop."""


class RunHosts(Collection[HostHandle]):
    """The hosts that a run has now. Lost ones leave, and others join it when their components are placed again."""

    def __init__(
        self,
        run_id: str,
        graph: Graph,
        open_host: Callable[[node_pb2.Place, str], HostHandle],
        *,
        traceparent: str,
        steps: Steps | None = None,
    ) -> None:
        """No hosts yet.

        Args:
            run_id: of the run.
            graph: its pipeline.
            open_host: opens the host of a part of the run at the server of a name. Raises LanemeshError if that is gone.
            traceparent: the trace that the run belongs to.
            steps: logs which server gets which part.
        """
        self.by_name: dict[str, HostHandle] = {}
        """By names that are this run's own: those of the servers, with a number for parts that were placed again."""
        self._run_id = run_id
        self._graph = graph
        self._open_host = open_host
        self._traceparent = traceparent
        self._steps = steps

    def __iter__(self) -> Iterator[HostHandle]:
        return iter(self.by_name.values())

    def __len__(self) -> int:
        return len(self.by_name)

    def __contains__(self, host: object) -> bool:
        return host in self.by_name.values()

    async def open(
        self,
        servers: Mapping[str, ServerAddress],
        timeout: float | None,
        *,
        again: Collection[str] | None = None,
        done: Collection[str] = (),
    ) -> list[HostHandle]:
        """Opens a host for each part of the run; they are not among its hosts before `add`.

        Args:
            servers: where each component runs.
            timeout: seconds that the run may take; None: any time.
            again: the components that are placed again; None: all of the run is placed.
            done: edges that need no other end.

        Raises:
            LanemeshError: a server is gone; the fault has its name as the detail "server". None is open then.
        """
        places = plan(
            self._graph,
            servers,
            run_id=self._run_id,
            timeout=timeout,
            traceparent=self._traceparent,
            again=again,
            done=done,
        )
        hosts: list[HostHandle] = []
        for server, place in places.items():
            if self._steps is not None:
                self._steps.placing(server, place)
            try:
                hosts.append(self._open_host(place, server))
            except LanemeshError as error:
                await stop_all(hosts, "another server of the run is gone")
                raise LanemeshError(error.fault.located(server=server)) from None
        return hosts

    def add(self, hosts: Iterable[HostHandle]) -> None:
        """Makes hosts a part of the run."""
        self.by_name.update({_name(host): host for host in hosts})

    def remove(self, host: HostHandle) -> None:
        """A host is lost, and is recovered from."""
        self.by_name.pop(_name(host), None)

    async def probe(self, seconds: float) -> None:
        """Asks every host what it is doing; returns once all have answered, or after so many seconds."""
        await asyncio.gather(*(host.probe(seconds) for host in self))

    async def clear(self, reason: str) -> None:
        """Stops every host, within a bound. The run has none then."""
        await stop_all(self, reason)
        self.by_name.clear()

    async def end(self, reason: str, *, deliver: bool) -> None:
        """The same at the end of the run. `deliver`: the hosts of this process go last, up to a second later: what was sent to the
        targets there before a failure is delivered."""
        elsewhere = asyncio.gather(*(host.stop(reason) for host in self if host.server != LOCAL))
        try:
            if deliver:
                await asyncio.wait([elsewhere], timeout=ON_THEIR_WAY_SECONDS)
        except asyncio.CancelledError:
            elsewhere.cancel()
            raise
        await asyncio.gather(elsewhere, *(host.stop(reason) for host in self if host.server == LOCAL))
        self.by_name.clear()  # an ended run is kept for its log: their calls would hold more memory than that


async def stop_all(hosts: Collection[HostHandle], reason: str) -> None:
    """Stops hosts, within a bound."""
    await asyncio.gather(*(host.stop(reason) for host in hosts))


def _name(host: HostHandle) -> str:
    return f"{host.server}#{host.place.incarnation}" if host.place.incarnation else host.server
