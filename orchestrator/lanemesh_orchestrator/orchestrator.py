"""An orchestrator: the registry, the runs and the host of boundary nodes, and its gRPC server where it has one."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lanemesh.channels import LocalChannels
from lanemesh.server.host import NodeHost
from lanemesh.server.memory import keep_freed_memory
from lanemesh.server.services import all_services

from lanemesh_orchestrator.registry.registry import Registry
from lanemesh_orchestrator.runs.placing import LOCAL
from lanemesh_orchestrator.runs.runs import Runs

if TYPE_CHECKING:
    from lanemesh.server.grpc_server import GrpcServer

logger = logging.getLogger("lanemesh.orchestrator")


class Orchestrator:
    """Validates, places and supervises runs."""

    def __init__(self, *, embedded: bool, nodes: Sequence[Path] = (), gpu_arbiter: str = "") -> None:
        """`embedded`: every node type runs in this process. Else only boundary nodes do, and node servers join for the rest.

        Raises:
            LanemeshError: a service or a file of `nodes` cannot be loaded.
        """
        self.host = NodeHost(all_services(None, nodes), name=LOCAL, gpu_arbiter=gpu_arbiter)
        self.channels = self.host.channel_link = LocalChannels()
        """The broker of every channel of the mesh."""
        self.registry = Registry(
            lambda: (manifest for manifest in self.host.manifests() if embedded or manifest.boundary)
        )
        self.runs = Runs(self.host, self.registry, embedded=embedded, broker=self.channels.broker)
        self.grpc: GrpcServer | None = None
        self.address = ""
        """Where clients and node servers dial it; empty without a server."""

    @property
    def gpu_arbiter(self) -> str:
        """Address of the GPU arbiter that node servers are told of when they join; empty: each has one of its own."""
        return self.host.gpu_arbiter

    @gpu_arbiter.setter
    def gpu_arbiter(self, address: str) -> None:
        self.host.gpu_arbiter = address

    async def listen(
        self, host: str = "127.0.0.1", port: int = 0, *, advertise: str = "", insecure: bool = False
    ) -> None:
        """Starts the gRPC server.

        Raises:
            LanemeshError: the port is in use, or the address is not loopback and `insecure` was not said.
        """
        from lanemesh.server.grpc_server import GrpcServer
        from lanemesh.server.node_service import NodeService
        from lanemesh.v1 import channel_pb2_grpc, node_pb2_grpc, registry_pb2_grpc, run_pb2_grpc

        from lanemesh_orchestrator.channels.service import ChannelService
        from lanemesh_orchestrator.registry.service import RegistryService
        from lanemesh_orchestrator.runs.service import RunService

        self.grpc = GrpcServer(host, port, insecure=insecure)
        self.address = self.runs.address = advertise or self.grpc.address
        server = self.grpc.server
        registry = RegistryService(self.registry, self.runs.manifests, lambda: self.gpu_arbiter)
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(registry, server)
        run_pb2_grpc.add_RunServiceServicer_to_server(RunService(self.runs), server)
        node_pb2_grpc.add_NodeServiceServicer_to_server(NodeService(self.host), server)
        channel_pb2_grpc.add_ChannelServiceServicer_to_server(ChannelService(self.channels), server)
        names = ("RunService", "RegistryService", "NodeService", "ChannelService")
        await self.grpc.start([f"lanemesh.v1.{name}" for name in names])

    async def close(self) -> None:
        """Cancels every run, frees everything and stops serving."""
        await self.runs.close()
        self.channels.stop()
        await self.host.close()
        if self.grpc is not None:
            await self.grpc.stop(1.0)


async def serve(
    host: str = "127.0.0.1",
    port: int = 7070,
    *,
    advertise: str = "",
    insecure: bool = False,
    nodes: Sequence[Path] = (),
    gpu_arbiter: str = "",
    stop: asyncio.Event | None = None,
) -> int:
    """Runs an orchestrator until SIGTERM, SIGINT or `stop`. Returns the exit code.

    Raises:
        LanemeshError: the port is in use, or the address is not loopback and `insecure` was not said.
    """
    keep_freed_memory()
    orchestrator = Orchestrator(embedded=False, nodes=nodes, gpu_arbiter=gpu_arbiter)
    await orchestrator.listen(host, port, advertise=advertise, insecure=insecure)
    stop = stop or asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    logger.info("listening, reached at %s", orchestrator.address)
    await stop.wait()
    await orchestrator.close()
    return 0
