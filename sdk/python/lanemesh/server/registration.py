"""Joining an orchestrator: one `Register` stream for as long as the server lives, dialled again when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable

import grpc
import grpc.aio

from lanemesh._aio.backoff import Backoff
from lanemesh._grpc.connections import dial
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.server.host.host import NodeHost
from lanemesh.v1 import registry_pb2
from lanemesh.v1.registry_pb2_grpc import RegistryServiceStub

BEAT_SECONDS = 5.0
"""Time between two signs of life."""
RETRY_SECONDS = (0.2, 5.0)
"""Bounds of the first pause and of every pause before the orchestrator is dialled again."""

log = logging.getLogger("lanemesh.registration")


class Registration:
    """A node server's membership in a mesh."""

    def __init__(self, host: NodeHost, orchestrator: str, address: str, *, software_version: str = "") -> None:
        self.joined = asyncio.Event()
        """Set while the orchestrator knows this server."""
        self._host = host
        self._orchestrator = orchestrator
        self._draining = asyncio.Event()
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
        )

    def drain(self) -> None:
        """Tells the orchestrator that this server takes no new runs."""
        self._draining.set()

    async def keep(self, on_joined: Callable[[registry_pb2.Registered], None] | None = None) -> None:
        """Joins, and joins again whenever the stream breaks, until it is cancelled. What is in the way is told once, until
        something else is."""
        backoff = Backoff(*RETRY_SECONDS)
        told: grpc.StatusCode | None = None
        while True:
            why, code = "it ended the stream", grpc.StatusCode.UNAVAILABLE
            try:
                async with dial(self._orchestrator) as channel:
                    await self._join(channel, on_joined)
            except grpc.aio.AioRpcError as error:
                why, code = error.details() or error.code().name, error.code()
            except asyncio.InvalidStateError:
                why = "the call ended before it began"
            what = "cannot reach" if code is grpc.StatusCode.UNAVAILABLE else "cannot join"
            if self.joined.is_set():
                what, told = "lost", None
                backoff.reset()
                code = grpc.StatusCode.UNAVAILABLE  # as the attempts that follow
            self.joined.clear()
            await asyncio.sleep(
                backoff.next()
            )  # who ends together with the orchestrator is cancelled here, and says nothing
            if code is not told:
                every = f"retrying at least every {RETRY_SECONDS[1]:g} s"
                log.warning("%s the orchestrator at %s: %s; %s", what, self._orchestrator, why, every)
                told = code

    async def _join(
        self, channel: grpc.aio.Channel, on_joined: Callable[[registry_pb2.Registered], None] | None
    ) -> None:
        call = RegistryServiceStub(channel).Register()
        await call.write(registry_pb2.RegisterRequest(server=self._info))
        beat = asyncio.create_task(self._beat(call), name="registration heartbeat")
        try:
            async for response in call:
                if response.WhichOneof("frame") == "registered":
                    self._host.name = response.registered.name
                    self.joined.set()
                    if on_joined is not None:
                        on_joined(response.registered)
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    async def _beat(
        self, call: grpc.aio.StreamStreamCall[registry_pb2.RegisterRequest, registry_pb2.RegisterResponse]
    ) -> None:
        told = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._draining.wait() if not told else await asyncio.sleep(BEAT_SECONDS + 1)
            if self._draining.is_set() and not told:
                told = True
                await call.write(registry_pb2.RegisterRequest(draining=registry_pb2.Draining()))
            else:
                await call.write(registry_pb2.RegisterRequest())
