"""RegistryService over gRPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
from lanemesh._grpc.caller import current_caller
from lanemesh._grpc.first_frame import FIRST_FRAME_SECONDS, first_frame
from lanemesh._grpc.log_once import LogOnce, host_of_peer
from lanemesh._grpc.writing import write
from lanemesh.faults import LanemeshError
from lanemesh.protocol import IDLE_FRAME_SECONDS, PROTOCOL_VERSION
from lanemesh.v1 import node_pb2, registry_pb2, registry_pb2_grpc

from lanemesh_orchestrator.audit import audited
from lanemesh_orchestrator.registry.addresses import find_rival
from lanemesh_orchestrator.registry.manifests import check
from lanemesh_orchestrator.registry.member import Member
from lanemesh_orchestrator.registry.registry import Registry

refusals = LogOnce(logging.getLogger("lanemesh.registry"))

QUIET_SECONDS = 12.0
"""Time without a frame after which other servers are preferred to a node server; it sends a heartbeat every 5 s."""
SILENCE_SECONDS = 20.0
"""Time without a frame after which a node server is removed."""


class RegistryService(registry_pb2_grpc.RegistryServiceServicer):
    """Serves the registry: a node server is a member until its stream ends."""

    def __init__(
        self,
        registry: Registry,
        manifests: Callable[[], dict[str, node_pb2.Manifest]],
        gpu_arbiter: Callable[[], str] = str,
        *,
        first_frame_seconds: float = FIRST_FRAME_SECONDS,
    ) -> None:
        """`gpu_arbiter` returns the address of the GPU arbiter for a server that joins; empty if there is none.
        `first_frame_seconds`: how long a server may take to describe itself."""
        self._first_frame_seconds = first_frame_seconds
        self._registry = registry
        self._manifests = manifests
        self._gpu_arbiter = gpu_arbiter

    async def Register(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[registry_pb2.RegisterRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """Keeps a node server registered until its stream ends."""
        first = await first_frame(context, "description of the server", self._first_frame_seconds)
        if not isinstance(first, registry_pb2.RegisterRequest) or first.WhichOneof("frame") != "server":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first frame must describe the server")
        assert isinstance(first, registry_pb2.RegisterRequest)
        async with audited(
            context, "RegistryService.Register", server=first.server.name, address=first.server.address
        ) as act:
            try:
                check(first.server)
                self._registry.check_claim(first.server, first.membership_key, current_caller())
                rival, answering = await find_rival(self._registry, first.server)
                member = self._registry.join(
                    first.server,
                    rival=rival,
                    answering=answering,
                    key=first.membership_key,
                    caller=current_caller(),
                )
            except LanemeshError as error:
                refusals.warning(
                    f"{host_of_peer(context.peer())} {error.fault.reason}",
                    "from %s: a node server is not taken as a member: %s",
                    *(context.peer(), error.fault.message),
                )
                raise
            act.fields.update(server=member.name, replaces=member.info.replaces)
        writing = asyncio.create_task(self._write(member, context), name="registry writer")
        try:
            await self._listen(member, context)
        except TimeoutError:
            self._registry.leave(member, f"it sent nothing for {SILENCE_SECONDS:g} s")
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"silent for {SILENCE_SECONDS:g} s")
        finally:
            self._registry.leave(member)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _listen(self, member: Member, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Handles frames until the server disconnects. Raises TimeoutError after 20 s without a frame."""
        quiet = f"it sent nothing for {QUIET_SECONDS:g} s"
        loop = asyncio.get_running_loop()
        while True:
            quiet_timer = loop.call_later(QUIET_SECONDS, self._registry.lose, member, quiet)
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    frame = await context.read()
            finally:
                quiet_timer.cancel()
            if not isinstance(frame, registry_pb2.RegisterRequest):
                return
            if member.unreachable:
                self._registry.find(member)
            match frame.WhichOneof("frame"):
                case "draining":
                    self._registry.drain(member)
                case "manifests":
                    self._registry.update(member, frame.manifests.manifests)
                case "gpus":
                    self._registry.report_gpus(member, frame.gpus)

    async def _write(self, member: Member, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Sends the name of the server at first and after each change, warnings, and heartbeats."""
        name = ""
        while True:
            if name != member.name:
                name = member.name
                registered = registry_pb2.Registered(
                    name=name, protocol_version=PROTOCOL_VERSION, gpu_arbiter_address=self._gpu_arbiter()
                )
                await write(context, registry_pb2.RegisterResponse(registered=registered))
            while member.warnings:
                warning = registry_pb2.MembershipWarning(text=member.warnings.popleft())
                await write(context, registry_pb2.RegisterResponse(warning=warning))
            if name == member.name and not await member.news.wait_at_most(IDLE_FRAME_SECONDS):
                await write(context, registry_pb2.RegisterResponse())

    async def ListNodeTypes(
        self, request: registry_pb2.ListNodeTypesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> registry_pb2.ListNodeTypesResponse:
        """The node types of the orchestrator and of all servers."""
        manifests = self._manifests()
        return registry_pb2.ListNodeTypesResponse(manifests=[manifests[name] for name in sorted(manifests)])

    async def ListNodeServers(
        self, request: registry_pb2.ListNodeServersRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> registry_pb2.ListNodeServersResponse:
        """The records of all node servers."""
        return registry_pb2.ListNodeServersResponse(servers=self._registry.servers())
