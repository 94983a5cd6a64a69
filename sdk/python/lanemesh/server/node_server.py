"""A node server: a node host behind gRPC that joins an orchestrator."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from lanemesh._aio.signals import StopSignals
from lanemesh._grpc.limits import raise_file_limit
from lanemesh._grpc.own_address import own_address
from lanemesh._grpc.server import GrpcServer
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.permissions import Permissions
from lanemesh.server.file_roots import FileRoots
from lanemesh.server.host.host import NodeHost
from lanemesh.server.memory import keep_freed_memory
from lanemesh.server.node_files import NodeFiles
from lanemesh.server.node_service import NodeService
from lanemesh.server.registration import Registration
from lanemesh.server.services import all_services
from lanemesh.v1 import node_pb2_grpc, registry_pb2

DRAIN_SECONDS = 3600.0
"""Longest that a draining server waits for its last run."""
LAST_SECONDS = 3.0
"""Longest time in which a server cancels unfinished work after a second signal."""
_GAVE_UP = "stopped waiting: a node ignores its cancellation or blocks the event loop"

log = logging.getLogger("lanemesh.server")


class NodeServer:
    """A node host with its gRPC server and, where there is an orchestrator, its registration."""

    def __init__(
        self,
        host: NodeHost,
        *,
        bind: str = "127.0.0.1",
        port: int = 0,
        advertise: str = "",
        orchestrator: str = "",
        insecure: bool = False,
        replace: bool = False,
        reload: bool = False,
    ) -> None:
        """Binds the address.

        Args:
            advertise: the "host:port" that peers dial; by default the bound one or, if that is unspecified (0.0.0.0), the address
                of this machine on the route to the orchestrator.
            allow: what components may do: "shell", "write", "hosts", "host:NAME", "host:NAME:PORT" (`lanemesh.permissions`).
        replace: its node types replace those of servers that were started before it.
            reload: the host's files with node types are watched, and loaded again when they change.

        Raises:
            LanemeshError: the port is in use, or the address is not loopback and `insecure` is not set.
        """
        from lanemesh.control.grpc_service import helper_service

        self.host = host
        host.orchestrator = orchestrator
        self.grpc = GrpcServer(bind, port, insecure=insecure)
        self.address = advertise or self.grpc.address
        service = NodeService(host, first_frame_seconds=self.grpc.limits.first_frame_seconds)
        node_pb2_grpc.add_NodeServiceServicer_to_server(service, self.grpc.server)
        self.grpc.server.add_generic_rpc_handlers([helper_service(kind, host) for kind in HELPER_KINDS.values()])
        self.registration = Registration(host, orchestrator, self.address, replaces=replace) if orchestrator else None
        if self.registration is not None:
            host.on_reload = self.registration.update_manifests
        self._watching: asyncio.Task[None] | None = None
        self._reload = reload
        self._joining: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts serving, and joining."""
        await self.grpc.start(["lanemesh.v1.NodeService", *(kind.service for kind in HELPER_KINDS.values())])
        if self.registration is not None:
            self._joining = asyncio.create_task(self.registration.keep(self._joined), name="registration")
        if self._reload and self.host.node_files is not None:
            watch = self.host.node_files.watch(self.host.refresh_or_keep)
            self._watching = asyncio.create_task(watch, name="watch files with node types")

    async def drain(self) -> None:
        """Takes no new runs, and waits until the last one has ended."""
        self.host.drain()
        await self.grpc.not_serving()
        if self.registration is not None:
            self.registration.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self.host.idle.wait()

    async def stop(self) -> None:
        """Leaves the mesh, cancels unfinished work and stops serving."""
        for task in (self._joining, self._watching):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self.host.close()
        await self.grpc.stop()

    def _joined(self, registered: registry_pb2.Registered) -> None:
        self.host.gpu_arbiter = registered.gpu_arbiter_address
        assert self.registration is not None
        log.info("joined as %s, reached at %s", registered.name, self.registration.address)


async def serve(
    services: Sequence[str],
    *,
    orchestrator: str,
    name: str = "",
    host: str = "127.0.0.1",
    port: int = 0,
    advertise: str = "",
    insecure: bool = False,
    nodes: Sequence[Path] = (),
    max_instances: int = 0,
    labels: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
    modules: Sequence[str] = (),
    allow: Sequence[str] = (),
    replace: bool = False,
    reload: bool = False,
    stop: asyncio.Event | None = None,
) -> int:
    """Runs a node server until SIGTERM, SIGINT or `stop`: the first signal drains it, a second one cancels unfinished work within
    3 s, and a third one ends the process at once.

    Args:
        services: names of installed services; may be empty if `nodes` gives files with node types.
        orchestrator: "host:port" of the orchestrator to join; empty: an orchestrator is given the address of this server.
        name: the name that it requests; by default made of its services' names.
        max_instances: most components that it runs at once; it refuses runs that would need more. 0: any number.
        labels: pipelines may select it by these.
        files: folders under which configs of pipelines may name files; empty: the working directory and the model cache.
        modules: Python modules that configs may name besides those under these folders; "*": every one.
        allow: names of permissions, such as "shell", "host:NAME" or "command:LINE" (`lanemesh.permissions`).
        replace: its node types replace those of servers that were started before it.
        reload: the files of `nodes` are watched, and loaded again when they change. Otherwise they are checked when a run is
            placed.
        stop: ends the server at once when set.

    Returns:
        The exit code: 0 after draining, 1 after a second signal.

    Raises:
        LanemeshError: no such service or permission, a port in use, an address off loopback without `insecure`.
    """
    keep_freed_memory()
    raise_file_limit()
    loaded = all_services(services)
    node_files = NodeFiles(nodes) if nodes else None
    own = node_files.services if node_files is not None else []
    permissions = Permissions.of_server(allow)
    named = (modules, permissions.commands, permissions.hosts)
    label = name or "-".join(service.name for service in (*loaded, *own))
    server = NodeServer(
        NodeHost(
            loaded,
            name=label,
            max_instances=max_instances,
            labels=labels,
            files=FileRoots.of(files, *named) if files else FileRoots.standard(*named),
            permissions=permissions,
            node_files=node_files,
        ),
        bind=host,
        port=port,
        advertise=advertise,
        orchestrator=orchestrator,
        insecure=insecure,
        replace=replace,
        reload=reload,
    )
    stop = stop or asyncio.Event()
    first, second = asyncio.Event(), asyncio.Event()
    with StopSignals(first.set, second.set, last_seconds=LAST_SECONDS, gave_up=_GAVE_UP):
        await server.start()
        gc.collect()
        gc.freeze()  # modules stay until the process ends; without this the garbage collector would scan them repeatedly
        log.info("%s listens on %s", label, server.grpc.address)
        if not orchestrator:
            address = await own_address(server.address)
            log.info("it joins no orchestrator; to use it, start one with: lanemesh serve --server %s", address)
        await _any(first, stop)
        code = 0
        if not stop.is_set():
            draining = asyncio.create_task(server.drain(), name="drain")
            await _any(second, stop, draining)
            code = 0 if draining.done() or stop.is_set() else 1
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)
        await server.stop()
    return code


async def _any(*things: asyncio.Event | asyncio.Task[None]) -> None:
    tasks = [asyncio.create_task(thing.wait()) if isinstance(thing, asyncio.Event) else thing for thing in things]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task, thing in zip(tasks, things, strict=True):
        if isinstance(thing, asyncio.Event):
            task.cancel()
