"""Registration at an orchestrator: one `Register` stream during the life of the server, opened again when it breaks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

import grpc
import grpc.aio

from lanemesh._aio.backoff import Backoff
from lanemesh._aio.signal import Signal
from lanemesh._grpc.connections import dial
from lanemesh._grpc.own_address import own_address
from lanemesh._grpc.tls_errors import with_hint
from lanemesh.faults import LanemeshError
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.server.gpu_report import watch_gpus
from lanemesh.server.host.host import NodeHost
from lanemesh.times import stamp
from lanemesh.v1 import registry_pb2
from lanemesh.v1.registry_pb2_grpc import RegistryServiceStub

KEY_BYTES = 16
"""Size of the key of a membership."""
BEAT_SECONDS = 5.0
"""Time between two heartbeats."""
RETRY_SECONDS = (0.2, 5.0)
"""Bounds of the first pause and of every pause before the orchestrator is dialled again."""

log = logging.getLogger("lanemesh.registration")


class Registration:
    """A node server's membership in a mesh."""

    def __init__(
        self, host: NodeHost, orchestrator: str, address: str, *, software_version: str = "", replaces: bool = False
    ) -> None:
        """A membership that has not started.

        Args:
            address: where peers dial this server. If it is unspecified, such as 0.0.0.0:7071, each attempt to join determines the
                address of this machine on the route to the orchestrator.
            replaces: its node types replace those of servers that were started before it.
        """
        self.joined = asyncio.Event()
        """Set while the orchestrator knows this server."""
        self._host = host
        self._orchestrator = orchestrator
        self._listening_at = address
        self._draining = False
        self._noted_version = PROTOCOL_VERSION
        self._news = Signal()
        """Fires when there is something to send."""
        self._key = os.urandom(KEY_BYTES)
        """Proves to an orchestrator that further streams are those of this process."""
        self._changes = 0
        """Number of changes of the node types."""
        self._gpus = registry_pb2.GpuReport()
        """What the host has on GPUs."""
        self._info = registry_pb2.ServerInfo(
            name=host.name,
            address=address,
            protocol_version=PROTOCOL_VERSION,
            manifests=host.manifests(),
            pid=os.getpid(),
            labels=host.labels,
            max_instances=host.max_instances,
            software_version=software_version,
            features=sorted(host.features),
            instance_id=host.instance_id,
            replaces=replaces,
        )
        stamp(self._info.started_at)

    @property
    def address(self) -> str:
        """Where peers dial this server, as the orchestrator knows it."""
        return self._info.address

    def drain(self) -> None:
        """Reports to the orchestrator that this server takes no new runs."""
        self._draining = True
        self._news.fire()

    def update_manifests(self) -> None:
        """Sends the node types of the host to the orchestrator, because they have changed."""
        del self._info.manifests[:]
        self._info.manifests.extend(self._host.manifests())
        self._changes += 1
        self._news.fire()

    async def keep(self, on_joined: Callable[[registry_pb2.Registered], None] | None = None) -> None:
        """Joins, and joins again whenever the stream breaks, until it is cancelled. The same failure is logged once, until another
        one occurs."""
        backoff = Backoff(*RETRY_SECONDS)
        logged: grpc.StatusCode | None = None
        while True:
            why, code = "it ended the stream", grpc.StatusCode.UNAVAILABLE
            try:
                async with dial(self._orchestrator, security=self._host.security) as channel:
                    await self._join(channel, on_joined)
            except grpc.aio.AioRpcError as error:
                why, code = with_hint(error.details() or error.code().name), error.code()
            except asyncio.InvalidStateError:
                why = "the call ended before it began"
            except LanemeshError as error:  # the files of TLS cannot be used
                why, code = error.fault.message, grpc.StatusCode.FAILED_PRECONDITION
            what = "cannot reach" if code is grpc.StatusCode.UNAVAILABLE else "cannot join"
            if self.joined.is_set():
                what, logged = "lost", None
                backoff.reset()
                code = grpc.StatusCode.UNAVAILABLE  # the same code as in later attempts
            self.joined.clear()
            await asyncio.sleep(
                backoff.next()
            )  # a server that ends together with the orchestrator is cancelled here, and logs nothing
            if code is not logged:
                every = f"retrying at least every {RETRY_SECONDS[1]:g} s"
                log.warning("%s the orchestrator at %s: %s; %s", what, self._orchestrator, why, every)
                logged = code

    async def _join(
        self, channel: grpc.aio.Channel, on_joined: Callable[[registry_pb2.Registered], None] | None
    ) -> None:
        self._info.address = await own_address(self._listening_at, self._orchestrator, self._info.address)
        call = RegistryServiceStub(channel).Register()
        await call.write(registry_pb2.RegisterRequest(server=self._info, membership_key=self._key))
        self._gpus = registry_pb2.GpuReport()
        tasks = [asyncio.create_task(self._beat(call), name="registration heartbeat")]
        try:
            async for response in call:
                if response.WhichOneof("frame") == "registered":
                    self._host.name = response.registered.name
                    self._note_version(response.registered.protocol_version)
                    self.joined.set()
                    if on_joined is not None:
                        on_joined(response.registered)
                    if len(tasks) == 1:  # what it has depends on the arbiter of the mesh
                        tasks.append(asyncio.create_task(watch_gpus(self._host, self._report), name="GPU reports"))
                elif response.WhichOneof("frame") == "warning":
                    log.warning("the orchestrator at %s: %s", self._orchestrator, response.warning.text)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _report(self, gpus: registry_pb2.GpuReport) -> None:
        """Sends what the host has on GPUs."""
        self._gpus = gpus
        self._news.fire()

    def _note_version(self, version: int) -> None:
        """Logs once that the orchestrator speaks another version of the protocol."""
        if version not in (PROTOCOL_VERSION, self._noted_version):
            log.warning(
                "the orchestrator at %s speaks version %d of the protocol, and this server version %d: they use the features that "
                "both support",
                *(self._orchestrator, version, PROTOCOL_VERSION),
            )
        self._noted_version = version

    async def _beat(
        self, call: grpc.aio.StreamStreamCall[registry_pb2.RegisterRequest, registry_pb2.RegisterResponse]
    ) -> None:
        drain_sent, changes_sent, gpus_sent = False, self._changes, self._gpus
        while True:
            if self._draining and not drain_sent:
                drain_sent = True
                await call.write(registry_pb2.RegisterRequest(draining=registry_pb2.Draining()))
            elif changes_sent != self._changes:
                changes_sent = self._changes
                manifests = registry_pb2.ManifestUpdate(manifests=self._info.manifests)
                await call.write(registry_pb2.RegisterRequest(manifests=manifests))
            elif gpus_sent is not self._gpus:
                gpus_sent = self._gpus
                await call.write(registry_pb2.RegisterRequest(gpus=gpus_sent))
            elif not await self._news.wait_at_most(BEAT_SECONDS):
                await call.write(registry_pb2.RegisterRequest())
