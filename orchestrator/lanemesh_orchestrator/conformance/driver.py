"""The driver: the connection to the server under test, and the runs that checks begin on it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from lanemesh._grpc.connections import dial
from lanemesh.v1 import node_pb2, node_pb2_grpc

from lanemesh_orchestrator.conformance.calls import StreamCall
from lanemesh_orchestrator.conformance.checks import WAIT_SECONDS, Skip, expect
from lanemesh_orchestrator.conformance.hosting import HostCall
from lanemesh_orchestrator.conformance.lanes import GivenLane
from lanemesh_orchestrator.conformance.neighbour import Neighbour, TakenLane
from lanemesh_orchestrator.conformance.places import LIMIT, edge_in, edge_out, instance, opening, place

CLOSE_SECONDS = 5.0
"""How long the calls of a check may take to end."""


@dataclass(slots=True)
class StartedRun:
    """A run with one component under test that has started."""

    id: str
    host: HostCall
    edges: list[node_pb2.Edge]
    given: dict[str, GivenLane] = field(default_factory=dict)
    """The lanes that the driver has opened, by input."""
    taken: dict[str, TakenLane] = field(default_factory=dict)
    """The lanes that the server under test has opened, by output."""

    @property
    def input(self) -> GivenLane:
        """The lane to the input `text`."""
        return self.given["text"]

    @property
    def output(self) -> TakenLane:
        """The lane of the output `out`."""
        return self.taken["out"]


class Driver:
    """Tests one node server. It plays the orchestrator and the neighbours."""

    def __init__(self, address: str, *, listen: str = "127.0.0.1") -> None:
        """`address` is that of the server under test. It has to reach the driver at the host `listen`."""
        self.address = address
        self._channels: list[grpc.aio.Channel] = [dial(address)]
        self.neighbour = Neighbour(listen)
        self._calls: list[StreamCall[Any]] = []
        self._salt = os.urandom(3).hex()
        self._numbers = itertools.count(1)
        self.manifests: dict[str, node_pb2.Manifest] = {}
        """The node types of the server under test, by name."""
        self.features: frozenset[str] = frozenset()
        """The features that it reports."""

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection to the server under test."""
        return self._channels[0]

    async def start(self) -> None:
        """Starts the neighbour, and reads the description of the server under test.

        Raises:
            AioRpcError: the server cannot be reached, or does not implement Describe.
        """
        await self.neighbour.start()
        described = await self.describe()
        self.manifests = {manifest.provider: manifest for manifest in described.manifests}
        self.features = frozenset(described.features)

    async def describe(self) -> node_pb2.DescribeResponse:
        """The answer to Describe."""
        stub = node_pb2_grpc.NodeServiceStub(self.channel)
        return await stub.Describe(node_pb2.DescribeRequest(), timeout=WAIT_SECONDS, wait_for_ready=True)

    async def close(self) -> None:
        """Ends everything."""
        await self.neighbour.stop()
        for channel in self._channels:
            await channel.close()

    def for_check(self) -> Driver:
        """The same driver with calls of its own, so that checks may run at the same time."""
        other = Driver.__new__(Driver)
        other.__dict__.update(self.__dict__)
        other._calls = []
        return other

    async def end_calls(self) -> None:
        """Ends the calls of a check."""
        for call in self._calls:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await call.close()
        self._calls.clear()

    def keep(self, call: StreamCall[Any]) -> None:
        """Ends a call with the check."""
        self._calls.append(call)

    def needs(self, provider: str) -> None:
        """Raises Skip unless the server offers a node type."""
        if provider not in self.manifests:
            raise Skip(f"the server does not offer {provider}")

    def run_id(self) -> str:
        """The id of a new run."""
        return f"conformance-{self._salt}-{next(self._numbers)}"

    def host(self) -> HostCall:
        """A new `Host` call."""
        call = HostCall(self.channel)
        self._calls.append(call)
        return call

    def new_channel(self) -> grpc.aio.Channel:
        """A further connection to the server under test."""
        channel = dial(self.address)
        self._channels.append(channel)
        return channel

    def lane(self, channel: grpc.aio.Channel | None = None) -> GivenLane:
        """A new `Exchange` call; `channel` is its connection, if it is not the usual one."""
        call = GivenLane(channel or self.channel)
        self._calls.append(call)
        return call

    def edge_in(self, **fields: Any) -> node_pb2.Edge:
        """An edge to the server under test."""
        return edge_in(self.address, **fields)

    def edge_out(self, **fields: Any) -> node_pb2.Edge:
        """An edge to the driver."""
        return edge_out(self.neighbour.address, **fields)

    async def wire(
        self, run_id: str, host: HostCall, edges: list[node_pb2.Edge], *, window: int | None = None
    ) -> StartedRun:
        """Connects a placed run as an orchestrator does: every lane is opened and accepted, then `connected` is read. `window` is
        the limit that the driver accepts; None: that of the edge."""
        run = StartedRun(run_id, host, edges)
        await host.connect()
        for edge in edges:
            if edge.consumer_address == self.neighbour.address:
                lane = await self.neighbour.lane(run_id, edge.id)
                await lane.accept(edge.limit_items if window is None else window)
                run.taken[edge.output] = lane
        await host.connected_well()
        for edge in edges:
            if edge.consumer_address != self.neighbour.address:
                given = run.given[edge.input] = self.lane()
                limit = await given.open(opening(run_id, edge))
                expect(limit == edge.limit_items, f"`accepted` with limit_items {edge.limit_items}", limit)
        return run

    @asynccontextmanager
    async def run(
        self,
        provider: str,
        config: Mapping[str, Any] | None = None,
        *,
        limit: int = LIMIT,
        window: int | None = None,
        edges: list[node_pb2.Edge] | None = None,
        fields: Mapping[str, Any] | None = None,
        **place_fields: Any,
    ) -> AsyncIterator[StartedRun]:
        """A started run of one component. Without `edges` each of its ports has a lane to or from the driver.

        Args:
            config: the config of the component.
            limit: the limit of each edge in items.
            window: the limit that the driver accepts on the lanes that it takes; None: `limit`.
            edges: other edges.
            fields: further fields of the instance.
            place_fields: further fields of `place`.
        """
        self.needs(provider)
        if edges is None:
            manifest = self.manifests[provider]
            edges = [self.edge_in(port=port.name, limit=limit) for port in manifest.inputs]
            edges += [self.edge_out(port=port.name, limit=limit) for port in manifest.outputs]
        run_id, host = self.run_id(), self.host()
        await host.place_well(
            place(run_id, instance(provider, config=config, **(fields or {})), *edges, **place_fields)
        )
        run = await self.wire(run_id, host, edges, window=window)
        await host.start()
        try:
            yield run
        finally:
            for lane in run.taken.values():
                lane.finish()
            await host.half_close()
