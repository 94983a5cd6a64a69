"""The hosts of one run: opens them by its plan, and probes and stops them together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from lanemesh.faults import LanemeshError
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline import Graph, ServerAddress, plan
from lanemesh_orchestrator.runs.host_handle import HostHandle
from lanemesh_orchestrator.scheduling.assignment import LOCAL

if TYPE_CHECKING:
    from lanemesh_orchestrator.runs.steps import Steps

DELIVERY_SECONDS = 1.0
"""Extra time for the targets of a failed run while other servers stop."""
LANE_KEY_BYTES = 16
"""Size of the key that the lanes of a run carry."""


class RunHosts(Collection[HostHandle]):
    """The current hosts of a run. Lost hosts are removed; hosts that replace them are added."""

    def __init__(
        self,
        run_id: str,
        graph: Graph,
        open_host: Callable[[node_pb2.Place, str], HostHandle],
        *,
        traceparent: str,
        session: str = "",
        depth: int = 0,
        steps: Steps | None = None,
    ) -> None:
        """Creates an empty collection.

        Args:
            run_id: of the run.
            graph: its pipeline.
            open_host: opens a host on the server of this name. Raises LanemeshError if the server has left.
            traceparent: the trace of the run.
            session: the session of the run; empty: none.
            depth: how many runs are above it.
            steps: logs the components that each server places.
        """
        self.by_name: dict[str, HostHandle] = {}
        """The hosts by the name of their server, with the incarnation appended after a recovery."""
        self._run_id = run_id
        self._graph = graph
        self._open_host = open_host
        self._traceparent = traceparent
        self._session = session
        self._depth = depth
        self._steps = steps
        self._lane_key = os.urandom(LANE_KEY_BYTES)
        """Proves that a lane belongs to the run."""
        self._keyed = True
        """The servers have the key; otherwise one of them cannot use it."""

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
        """Opens a host on each server of the run. `add` makes them hosts of the run.

        Args:
            servers: where each component runs.
            timeout: time limit of the run, in seconds; None: no limit.
            again: the components that are placed again; None: the whole run is placed.
            done: edges whose lost end is not replaced.

        Raises:
            LanemeshError: a server has left; the detail "server" of the fault is its name. No host stays open then.
        """
        places = plan(
            self._graph,
            servers,
            run_id=self._run_id,
            timeout=timeout,
            traceparent=self._traceparent,
            session=self._session,
            depth=self._depth,
            lane_key=self._lane_key if again is None or self._keyed else b"",
            again=again,
            done=done,
        )
        if again is None:
            self._keyed = all(place.lane_key for place in places.values())
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
        """Adds hosts to the run."""
        self.by_name.update({_name(host): host for host in hosts})

    def remove(self, host: HostHandle) -> None:
        """Removes a lost host, whose components are placed again."""
        self.by_name.pop(_name(host), None)

    async def probe(self, seconds: float) -> None:
        """Probes every host; returns when all have answered, or after this number of seconds."""
        await asyncio.gather(*(host.probe(seconds) for host in self))

    async def clear(self, reason: str) -> None:
        """Stops and removes every host, within a time limit."""
        await stop_all(self, reason)
        self.by_name.clear()

    async def end(self, reason: str, *, deliver: bool) -> None:
        """Stops and removes every host at the end of the run. `deliver`: stops the hosts of this process up to a second later, so
        that their targets deliver the items that were sent before a failure."""
        going = [host for host in self if not host.is_done]
        if going:
            await self._stop(going, reason, deliver=deliver)
        self.by_name.clear()  # an ended run is kept for its log; the calls of its hosts would use more memory

    async def _stop(self, hosts: Iterable[HostHandle], reason: str, *, deliver: bool) -> None:
        remote = asyncio.gather(*(host.stop(reason) for host in hosts if host.server != LOCAL))
        try:
            if deliver:
                await asyncio.wait([remote], timeout=DELIVERY_SECONDS)
        except asyncio.CancelledError:
            remote.cancel()
            raise
        await asyncio.gather(remote, *(host.stop(reason) for host in hosts if host.server == LOCAL))


async def stop_all(hosts: Collection[HostHandle], reason: str) -> None:
    """Stops hosts, within a time limit."""
    await asyncio.gather(*(host.stop(reason) for host in hosts))


def _name(host: HostHandle) -> str:
    return f"{host.server}#{host.place.incarnation}" if host.place.incarnation else host.server
