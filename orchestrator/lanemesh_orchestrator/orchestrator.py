"""An orchestrator: the registry, the runs, the host of boundary nodes, and optionally a gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from lanemesh.channels import Channels, LocalChannels
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.server.host.host import NodeHost
from lanemesh.server.services import InstalledServices

from lanemesh_orchestrator.registry.registry import Registry
from lanemesh_orchestrator.runs.retention import DEFAULT_BUDGET, check_budget
from lanemesh_orchestrator.runs.runs import Runs
from lanemesh_orchestrator.scheduling.assignment import LOCAL
from lanemesh_orchestrator.scheduling.requirements import PlacementPolicy, least_loaded

if TYPE_CHECKING:
    import grpc.aio
    from lanemesh._grpc.security import Security
    from lanemesh._grpc.server import GrpcServer
    from lanemesh.server.node_files import NodeFiles

    from lanemesh_orchestrator.deployments.deployments import Deployments
    from lanemesh_orchestrator.deployments.records import DeploymentStore
    from lanemesh_orchestrator.pipeline import Graph
    from lanemesh_orchestrator.registry.polled_servers import PolledServers
    from lanemesh_orchestrator.runs.elsewhere import Elsewhere
    from lanemesh_orchestrator.runs.records import History
    from lanemesh_orchestrator.store.journal import Journal
    from lanemesh_orchestrator.store.options import StoreOptions
    from lanemesh_orchestrator.store.store import RunStore
    from lanemesh_orchestrator.tools.tools import MeshTools

MoreServices: TypeAlias = "Callable[[grpc.aio.Server, str], Sequence[str]]"
"""Adds services to the gRPC server of an orchestrator, whose clients reach it at an address. Returns their full names."""


class Orchestrator:
    """Validates, places and supervises runs."""

    def __init__(
        self,
        *,
        embedded: bool,
        nodes: Sequence[Path] = (),
        gpu_arbiter: str = "",
        servers: Sequence[str] = (),
        deployment_store: DeploymentStore | None = None,
        store: StoreOptions | None = None,
        variables: Mapping[str, str] | None = None,
        plain_variables: Collection[str] = (),
        placement: PlacementPolicy = least_loaded,
        run_memory: int = DEFAULT_BUDGET,
        security: Security | None = None,
        is_local: bool = False,
    ) -> None:
        """Creates an orchestrator; `listen` starts its gRPC server.

        Args:
            embedded: whether all nodes run in this process. Otherwise only boundary nodes do, and node servers run the others.
            nodes: Python files with further node types.
            gpu_arbiter: address of the GPU arbiter of the mesh; empty: each node server has its own arbiter.
            servers: node servers that are used without joining, while the orchestrator listens: "host:port", or
                "dns:///name:port" for the servers at all addresses of a name.
            deployment_store: stores deployed pipelines, which `listen` restores; None: the `store` does.
            store: where runs and deployed pipelines are stored; None: they are not stored.
            variables: variables that `${NAME}` in documents of clients may read, besides those that clients send. They are secret:
                such a document may use them only in settings that are marked as secret.
            plain_variables: the names of those that clients may see, so that any setting may use them.
            placement: selects the node server of each component.
            run_memory: most bytes of runs and their updates that are kept in memory, at least 1 MiB. Ended runs lose theirs first,
                then active ones lose their oldest updates, except those that the owner of a run has not read.
            security: TLS and tokens of its server and of its connections to node servers; None: what the environment sets.
            is_local: all processes of the mesh are started by this one.

        Raises:
            ValueError: `run_memory` is less than 1 MiB.
            LanemeshError: a file of `nodes` cannot be loaded, or one of `servers` is no address.
        """
        check_budget(run_memory)
        self._security = security
        self._is_local = is_local
        files = _node_files(nodes)
        self.node_files = (
            {} if files is None else dict(zip((service.name for service in files.services), files.paths, strict=True))
        )
        """The files of `nodes`, by the names of their services."""
        self.host = NodeHost((), installed=InstalledServices(), name=LOCAL, gpu_arbiter=gpu_arbiter, node_files=files)
        if not embedded:
            self.host.manifests()  # a long-lived orchestrator reports failing imports at its start
        self.channels = self.host.channel_link = LocalChannels()
        """The broker of every channel of the mesh."""
        self.registry = Registry(
            lambda: (manifest for manifest in self.host.manifests() if embedded or manifest.boundary)
        )
        self.host.on_reload = self.registry.own_changed
        self.runs = Runs(
            *(self.host, self.registry),
            embedded=embedded,
            broker=self.channels.broker,
            placement=placement,
            memory=run_memory,
        )
        self.runs.variables = dict(variables or {})
        self.runs.plain_variables = frozenset(plain_variables)
        self.runs.named = lambda spec: self.deployments.graph(spec)
        self.runs.named_bytes = lambda spec: self.deployments.bytes_read(spec)
        self._embedded = embedded
        self._deployment_store = deployment_store
        self._deployments: Deployments | None = None
        self._restored = False
        self.on_deployments: Callable[[Deployments], None] = lambda created: None
        """Called with the deployments when they are created, before the first is restored."""
        self.homes: Callable[[Graph], Awaitable[Mapping[str, str]]] = _anywhere
        """Returns the required server of each component of a run; a spread mesh starts the missing servers."""
        self._tools: MeshTools | None = None
        self._store = store
        self._opened: RunStore | None = None
        self._journal: Journal | None = None
        self._history: History | None = None
        self._elsewhere: Elsewhere | None = None
        self._polled: PolledServers | None = None
        if servers:
            from lanemesh_orchestrator.registry.polled_servers import PolledServers, check_server

            for server in servers:
                check_server(server)
            self._polled = PolledServers(self.registry, servers)
        self.grpc: GrpcServer | None = None
        self.address = ""
        """The address for clients and node servers; empty without a gRPC server."""

    @cached_property
    def security(self) -> Security:
        """TLS and tokens of its server, and of its connections to node servers. Raises LanemeshError if the environment sets what
        contradicts itself ("bad-security")."""
        from lanemesh._grpc.security import Security

        settings = self._security or Security.from_environment()
        return settings.for_local_mesh() if self._is_local else settings

    @property
    def gpu_arbiter(self) -> str:
        """The address of the GPU arbiter that is sent to node servers when they join; empty: each has its own arbiter."""
        return self.host.gpu_arbiter

    @gpu_arbiter.setter
    def gpu_arbiter(self, address: str) -> None:
        self.host.gpu_arbiter = address

    @property
    def deployments(self) -> Deployments:
        """The deployed pipelines; created at the first use."""
        if self._deployments is None:
            from lanemesh_orchestrator.deployments.deployments import Deployments

            store = self._deployment_store
            self._deployments = Deployments(self.runs, self.registry, embedded=self._embedded, store=store)
            self.on_deployments(self._deployments)
        return self._deployments

    @property
    def tools(self) -> MeshTools:
        """The tools of the deployed pipelines; created at the first use."""
        if self._tools is None:
            from lanemesh_orchestrator.tools.tools import MeshTools

            def channels(run_id: str) -> Channels:
                return Channels(lambda: self.channels, run_id=run_id, name="client")

            self._tools = MeshTools(lambda: self.deployments, self.runs, channels, lambda graph: self.homes(graph))
        return self._tools

    @property
    def history(self) -> History:
        """The records of runs, including ended ones."""
        if self._history is None:
            from lanemesh_orchestrator.runs.records import MemoryHistory

            self._history = MemoryHistory(self.runs.known, self.runs.get)
        return self._history

    @property
    def stored_in(self) -> str:
        """The location of the store, for display; empty: runs are not stored."""
        return self._opened.location.shown if self._opened is not None else ""

    async def open_store(self) -> None:
        """Opens the store, unless it is open or there is none. Must be called before the first run.

        Raises:
            LanemeshError: the store cannot be used, or another process owns it.
        """
        options = self._store
        if options is None or self._opened is not None:
            return
        from lanemesh_orchestrator.store.history import StoredHistory
        from lanemesh_orchestrator.store.store import RunStore

        store = self._opened = await asyncio.to_thread(RunStore, options)
        if options.read_only:
            self._history = StoredHistory(store, self.runs.find)
        else:
            from lanemesh_orchestrator.store.deployed import StoredDeployments
            from lanemesh_orchestrator.store.journal import Journal
            from lanemesh_orchestrator.store.sessions import StoredSessions

            journal = self._journal = self.runs.journal = Journal(store, options)
            self._history = StoredHistory(store, self.runs.find, lambda: journal.call(RunStore.end_lost))
            self.runs.session_store = StoredSessions(self._journal)
            if options.deployments:
                self._deployment_store = self._deployment_store or StoredDeployments(self._journal)

    async def restore_deployments(self) -> None:
        """Loads the deployed pipelines of the open store, if there is one and they are not loaded yet. `listen` does so.

        Raises:
            LanemeshError: the store cannot be used.
        """
        if self._deployment_store is not None and not self._restored:
            self._restored = True
            await self.deployments.restore()

    async def listen(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        advertise: str = "",
        insecure: bool = False,
        more: MoreServices | None = None,
    ) -> None:
        """Starts the gRPC server.

        Args:
            host: address of the network interface.
            port: 0 selects a free port.
            advertise: the "host:port" that clients and node servers dial. Empty: the address on which the server listens, or for
                0.0.0.0 the address of this machine in its network.
            insecure: permits an address that is not loopback.
            more: adds further services to the server.

        Raises:
            LanemeshError: the port is in use, or the address is not loopback and `insecure` is not set.
        """
        from lanemesh._grpc.own_address import own_address
        from lanemesh._grpc.server import GrpcServer
        from lanemesh.control.grpc_service import helper_service
        from lanemesh.server.node_service import NodeService
        from lanemesh.v1 import (
            channel_pb2_grpc,
            deployment_pb2_grpc,
            gpu_pb2_grpc,
            node_pb2_grpc,
            registry_pb2_grpc,
            run_pb2_grpc,
            session_pb2_grpc,
        )

        from lanemesh_orchestrator.channels.service import ChannelService
        from lanemesh_orchestrator.deployments.service import DeploymentService
        from lanemesh_orchestrator.gpu_lists import GpuLists
        from lanemesh_orchestrator.registry.service import RegistryService
        from lanemesh_orchestrator.runs.elsewhere import Elsewhere
        from lanemesh_orchestrator.runs.service import RunService
        from lanemesh_orchestrator.sessions.service import SessionService
        from lanemesh_orchestrator.tools.service import ToolHandlers

        self.host.security = self.registry.security = self.security
        self.grpc = GrpcServer(host, port, insecure=insecure, security=self.security)
        await self.open_store()
        self.address = self.runs.address = advertise or await own_address(self.grpc.address)
        if self._journal is not None:
            await self._journal.call(lambda store: store.announce(self.address))
        self._elsewhere = Elsewhere(self.history, self.security)
        server = self.grpc.server
        first = self.grpc.limits.first_frame_seconds
        self.runs.callers.limit = self.grpc.limits.runs_per_caller
        registry = RegistryService(
            self.registry, self.runs.manifests, lambda: self.gpu_arbiter, first_frame_seconds=first
        )
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(registry, server)
        runs = RunService(
            *(self.runs, self.history, self._elsewhere, lambda graph: self.homes(graph)), first_frame_seconds=first
        )
        run_pb2_grpc.add_RunServiceServicer_to_server(runs, server)
        node_pb2_grpc.add_NodeServiceServicer_to_server(NodeService(self.host, first_frame_seconds=first), server)
        channel_pb2_grpc.add_ChannelServiceServicer_to_server(ChannelService(self.channels), server)
        deployments = DeploymentService(lambda: self.deployments)
        deployment_pb2_grpc.add_DeploymentServiceServicer_to_server(deployments, server)
        gpu_pb2_grpc.add_GpuArbiterServiceServicer_to_server(GpuLists(lambda: self.host.gpu_link), server)
        session_pb2_grpc.add_SessionServiceServicer_to_server(SessionService(lambda: self.runs.sessions), server)
        # Node servers call the helpers of this process; calls that name no run are for the tools of deployed pipelines.
        helpers = [helper_service(kind, self.host) for kind in HELPER_KINDS.values()]
        server.add_generic_rpc_handlers([ToolHandlers(self.tools), *helpers])
        await self.restore_deployments()
        names = (
            "RunService",
            "RegistryService",
            "NodeService",
            "ChannelService",
            "DeploymentService",
            "SessionService",
            "GpuArbiterService",
        )
        further = more(server, self.address) if more is not None else []
        own = [*(f"lanemesh.v1.{name}" for name in names), *(kind.service for kind in HELPER_KINDS.values())]
        await self.grpc.start([*own, *further])
        if self._polled is not None:
            self._polled.start()

    async def drain(self, seconds: float) -> bool:
        """Takes no new runs, except those that active runs start, and waits until the active ones have ended, this long at most.
        Returns whether they have."""
        self.runs.draining = True
        if self.grpc is not None:
            await self.grpc.not_serving()
        return await self.runs.idle(seconds)

    async def close_runs(self) -> None:
        """Cancels all runs, and releases all preloaded pipelines."""
        if self._tools is not None:
            await self._tools.close()
        if self._deployments is not None:
            await self._deployments.close()
        await self.runs.close()

    async def close(self) -> None:
        """Cancels all runs, releases all resources and stops the gRPC server."""
        await self.close_runs()
        if self._journal is not None:
            await self._journal.close()
        elif self._opened is not None:
            self._opened.close()
        if self._polled is not None:
            await self._polled.close()
        self.channels.stop()
        await self.host.close()
        if self.grpc is not None:
            await self.grpc.stop(1.0)
        if self._elsewhere is not None:
            await self._elsewhere.close()


async def _anywhere(graph: Graph) -> Mapping[str, str]:
    """No component requires a server."""
    return {}


def _node_files(paths: Sequence[Path]) -> NodeFiles | None:
    if not paths:
        return None
    from lanemesh.server.node_files import NodeFiles

    return NodeFiles(paths)
