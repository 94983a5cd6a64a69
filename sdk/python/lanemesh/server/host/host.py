"""A node host: a node server without gRPC. The orchestrator has one of its own for boundary nodes and embedded runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from lanemesh._aio.tasks import within
from lanemesh._aio.threads import THREADS
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import FEATURES
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.node.context import ClientLink
from lanemesh.node.node import Node, Service
from lanemesh.node.runtime.resources import Resources
from lanemesh.server.file_roots import FileRoots
from lanemesh.server.host.host_session import HostSession
from lanemesh.server.host.hosted_run import HostedRun
from lanemesh.server.host.instance_config import config_of
from lanemesh.server.host.node_types import NodeTypes
from lanemesh.server.host.reporting import EDGE_UPDATE_SECONDS
from lanemesh.server.services import InstalledServices, taken_names
from lanemesh.v1 import lane_pb2, node_pb2

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lanemesh._grpc.connections import ConnectionPool
    from lanemesh._grpc.security import Security
    from lanemesh.channels import ChannelLink
    from lanemesh.control.instance import HelperInstance
    from lanemesh.gpu import ArbiterLink
    from lanemesh.lanes.transport.short_lanes import ShortLanes
    from lanemesh.permissions import Permissions
    from lanemesh.server.node_files import NodeFiles

CLOSE_SECONDS = 20.0
"""How long a run may take to end when its host closes; its nodes have 8 s of this."""

log = logging.getLogger("lanemesh.host")


class NodeHost:
    """Runs instances of node types for orchestrators."""

    def __init__(
        self,
        services: Iterable[Service],
        *,
        installed: InstalledServices | None = None,
        name: str = "",
        gpu_arbiter: str = "",
        max_instances: int = 0,
        labels: Mapping[str, str] | None = None,
        files: FileRoots | None = None,
        permissions: Permissions | None = None,
        node_files: NodeFiles | None = None,
    ) -> None:
        """A host without runs.

        Args:
            services: given explicitly, later ones taking precedence.
            installed: imported on demand.
            name: the name that it requests.
            gpu_arbiter: address of the GPU arbiter; empty: the one of this process.
            max_instances: the most components that it runs at once, over all runs and orchestrators; 0: no limit.
            labels: pipelines may select it by these.
            files: the files that configs may name; None: any, as in local runs.
            permissions: what components may do; None: what they may in local runs.
            node_files: files with further node types, which take precedence; they are loaded again when they have changed.
        """
        self.name = name
        self.instance_id = os.urandom(8).hex()
        """Identifies this host among hosts that may have the same address."""
        self.files = files
        """The files that configs may name; None: any."""
        self.permissions = permissions
        """What components may do; None: what they may in local runs."""
        self.max_instances = max_instances
        self.labels = dict(labels or {})
        self._services = list(services)
        self.node_files = node_files
        """Files with node types; None: there are none."""
        self.node_types = NodeTypes(
            [*self._services, *(node_files.services if node_files is not None else ())], installed
        )
        """The node types that it can run."""
        self.on_reload: Callable[[], None] | None = None
        """Called when files of `node_files` were loaded again."""
        self._refreshing = asyncio.Lock()
        self._names_looked_at = False
        self.features: Collection[str] = FEATURES
        """The features that it supports beyond the base of the protocol."""
        self.gpu_arbiter = gpu_arbiter
        """Address of the GPU arbiter; empty: the one of this process."""
        self.orchestrator = ""
        """Address of the orchestrator that it has joined; empty: no remote one."""
        self.mesh: object = None
        """The mesh of this process, if it runs all nodes here."""
        self.security: Security | None = None
        """TLS and the token of connections to other servers; None: what the environment sets."""
        self.resources = Resources()
        self.draining = False
        self.edge_update_seconds = EDGE_UPDATE_SECONDS
        """Least time between two updates of one edge; infinite: only the last is reported."""
        self.runs: dict[tuple[str, int], HostedRun] = {}
        """Hosted runs, by the run's id and the part of it."""
        self.idle = asyncio.Event()
        """Set while no run is hosted."""
        self.idle.set()
        self.warm: set[HostSession] = set()
        """Sessions that only keep resources loaded."""
        self.spare: set[HostSession] = set()
        """Sessions whose run has finished, and that may host another one."""
        self._pool: ConnectionPool | None = None
        self._short_lanes: ShortLanes | None = None
        self._at_close: set[Callable[[], None]] = set()
        self._gpu: ArbiterLink | None = None
        self.gpu_changed = asyncio.Event()
        """Set when models were loaded or unloaded, or devices are used otherwise, since it was cleared."""
        self._channels: ChannelLink | None = None

    def mesh_link(self) -> object:
        """The mesh that components run in: that of this process, or the address of the orchestrator that it has joined, or an empty
        text."""
        return self.mesh if self.mesh is not None else self.orchestrator

    def manifests(self) -> list[node_pb2.Manifest]:
        """The manifests of all node types, in alphabetical order. The first call logs a warning about ambiguous names."""
        if not self._names_looked_at:
            self._names_looked_at = True
            for taken in taken_names(self.node_types.node_class(provider) for provider in self.node_types):
                log.warning("%s; rename one of them", taken)
        return list(self.node_types.values())

    def refresh(self) -> None:
        """Loads changed files with node types again. New instances get the new code; running ones keep theirs.

        Raises:
            LanemeshError: one of them cannot be loaded; the node types are unchanged.
        """
        if self.node_files is not None and self.node_files.refresh():
            self._reloaded(self.node_files)

    async def refresh_or_keep(self) -> None:
        """The same, in a thread. If a file cannot be loaded, that is logged once, and the node types are unchanged."""
        files = self.node_files
        if files is None or files.is_current():
            return
        async with self._refreshing:
            try:
                if await THREADS.call(files.refresh):
                    self._reloaded(files)
            except LanemeshError as error:
                files.report(error)

    def _reloaded(self, files: NodeFiles) -> None:
        self.node_types.replace([*self._services, *files.services])
        log.info("loaded again: %s", ", ".join(map(str, files.paths)))
        if self.on_reload is not None:
            self.on_reload()

    @property
    def active_instances(self) -> int:
        """Components that it runs now, or is placing."""
        return sum(run.instances for run in self.runs.values())

    def config_of(self, instance: node_pb2.Instance) -> BaseModel:
        """The config of an instance.

        Raises:
            LanemeshError: there is no such node type, it names a file outside of the roots, or it is invalid ("bad-config").
        """
        return config_of(instance, self.node_class(instance.provider), self.files)

    def node_class(self, provider: str) -> type[Node]:
        """The class of a node type. If there is none, raises LanemeshError, which lists the node types."""
        try:
            return self.node_types.node_class(provider)
        except KeyError:
            known = ", ".join(self.node_types) or "none"
            message = f'the node server "{self.name}" has no node type "{provider}"; it has {known}'
            raise LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-provider", message=message)) from None

    @property
    def pool(self) -> ConnectionPool:
        """Connections to other node servers, created on first use."""
        if self._pool is None:
            from lanemesh._grpc.connections import ConnectionPool

            self._pool = ConnectionPool(security=self.security)
        return self._pool

    @property
    def short_lanes(self) -> ShortLanes:
        """The calls that carry short lanes to other node servers, created on first use."""
        if self._short_lanes is None:
            from lanemesh.lanes.transport.short_lanes import ShortLanes

            self._short_lanes = ShortLanes(self.pool)
        return self._short_lanes

    @property
    def gpu_link(self) -> ArbiterLink:
        """The link to the GPU arbiter, created on first use."""
        if self._gpu is None:
            from lanemesh.gpu import connect

            self.gpu_link = connect(self.gpu_arbiter or None)
            assert self._gpu is not None
        return self._gpu

    @gpu_link.setter
    def gpu_link(self, link: ArbiterLink) -> None:
        self._gpu = link
        link.models.on_change = self.gpu_changed.set
        self.gpu_changed.set()

    @property
    def opened_gpu_link(self) -> ArbiterLink | None:
        """The link to the GPU arbiter; None if nothing has used it yet."""
        return self._gpu

    @property
    def channel_link(self) -> ChannelLink:
        """The link to the broker of channels: that of this process if the orchestrator is here, otherwise that of the orchestrator
        it has joined. Raises LanemeshError if there is neither."""
        if self._channels is None:
            if not self.orchestrator:
                message = f'the node server "{self.name}" has no channels, because it has not joined an orchestrator'
                raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="no-channels", message=message))
            from lanemesh.channels.remote import RemoteChannels

            self._channels = RemoteChannels(self.pool, self.orchestrator)
        return self._channels

    @channel_link.setter
    def channel_link(self, link: ChannelLink) -> None:
        self._channels = link

    def session(self, client: ClientLink | None = None, *, reusable: bool = False) -> HostSession:
        """The host's side of one `Host` stream.

        Args:
            client: the link of boundary nodes to the run's client.
            reusable: the session hosts one run after the other; otherwise its responses end with its first run.
        """
        return HostSession(self, client, reusable=reusable)

    def accept(self, opening: lane_pb2.LaneOpen) -> tuple[Edge, HostedRun]:
        """The consumer end that a lane requests, and its run.

        Raises:
            LanemeshError: no such run or edge, another type, a wrong key, or the edge has a lane already.
        """
        run = self.runs.get((opening.run_id, opening.incarnation))
        if run is None:
            raise _refused(Code.NOT_FOUND, "unknown-run", opening, f'the run "{opening.run_id}" is not hosted here')
        return run.accept(opening, lambda code, reason, why: _refused(code, reason, opening, why)), run

    def find_helper(self, run_id: str, component: str) -> HelperInstance | None:
        """The helper that a control call addresses; None if it is not here."""
        parts = (run for (hosted, _), run in self.runs.items() if hosted == run_id)
        return next((part.helpers[component] for part in parts if component in part.helpers), None)

    @contextlib.contextmanager
    def ending_at_close(self, end: Callable[[], None]) -> Iterator[None]:
        """Calls `end` if the host closes within the block: a call that belongs to no run ends with it."""
        self._at_close.add(end)
        try:
            yield
        finally:
            self._at_close.discard(end)

    def drain(self) -> None:
        """Takes no new runs, and releases all preloads."""
        self.draining = True
        for session in [*self.warm, *self.spare]:
            session.hang_up("the node server drains")

    async def close(self) -> None:
        """Cancels every run and frees all resources."""
        for session in [*self.warm, *self.spare]:
            await session.close("the node server stops")
        endings = ((run, run.cancel("the node server stops")) for run in list(self.runs.values()))
        await asyncio.gather(*(within(CLOSE_SECONDS, f"{run.run_id} to end here", ending) for run, ending in endings))
        for end in list(self._at_close):
            end()
        await self.resources.close()
        if self._short_lanes is not None:
            await self._short_lanes.close()
        if self._gpu is not None:
            await self._gpu.close()
        if self._pool is not None:
            await self._pool.close()


def _refused(code: Code, reason: str, opening: lane_pb2.LaneOpen, why: str) -> LanemeshError:
    message = f'the lane "{opening.edge_id}" of run "{opening.run_id}" is rejected: {why}'
    return LanemeshError(Fault(code=code, reason=reason, message=message, details={"lane": opening.edge_id}))
