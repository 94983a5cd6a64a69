"""The arbiter as a process of its own."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from pathlib import Path

from lanemesh._aio.signals import StopSignals
from lanemesh._grpc.limits import raise_file_limit
from lanemesh._grpc.security import Security
from lanemesh._grpc.server import GrpcServer
from lanemesh.gpu import GpuArbiter, find_devices
from lanemesh.gpu.core import TTL
from lanemesh.gpu.journal import Journal
from lanemesh.gpu.metrics import MetricsServer
from lanemesh.gpu.observing import find_observer
from lanemesh.gpu.servicer import serve_arbiter

log = logging.getLogger("lanemesh.gpu")


class ArbiterServer:
    """An arbiter behind gRPC, with health and reflection."""

    def __init__(
        self,
        arbiter: GpuArbiter,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        insecure: bool = False,
        security: Security | None = None,
    ) -> None:
        """Binds the address; port 0 takes a free one. `security`: TLS and the accepted tokens; None: what the environment sets.

        Raises:
            LanemeshError: the port is in use, or the host is not loopback and `insecure` is not set.
        """
        self.arbiter = arbiter
        self.grpc = GrpcServer(host, port, insecure=insecure, security=security)
        self.address = self.grpc.address
        seconds = self.grpc.limits.first_frame_seconds
        self._servicer = serve_arbiter(arbiter, self.grpc.server, first_frame_seconds=seconds)

    async def start(self) -> None:
        """Starts serving. Leases from before a restart expire from now on, also if no holder comes."""
        self.arbiter.adopt_loop()
        await self.grpc.start(["lanemesh.v1.GpuArbiterService"])

    async def stop(self) -> None:
        """Ends every lease and every wait with the reason "shutdown", waits for the end of their streams, and stops."""
        await self.grpc.not_serving()
        self.arbiter.close()
        self._servicer.close()
        await self.grpc.stop()


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    insecure: bool = False,
    ttl: float = TTL,
    journal: Path | None = None,
    metrics: int | None = None,
    on_ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serves the devices of this machine until SIGTERM, SIGINT or `stop`; a second signal ends the process at once.

    Args:
        ttl: seconds until a lease without a heartbeat expires.
        journal: the file that keeps leases and fencing tokens for a restart; None: leases do not outlive the arbiter.
        metrics: the port for metrics in the text format of Prometheus, at `/metrics` of the same host; 0: any; None: none.
        on_ready: called with the address, "host:port", when it serves.
        stop: ends the server when set.

    Raises:
        LanemeshError: a malformed `LANEMESH_GPUS`, a port in use, an address off loopback without `insecure`.
    """
    raise_file_limit()
    stopping = asyncio.Event() if stop is None else stop
    devices = find_devices()
    observer = find_observer([device.id for device in devices])
    server = ArbiterServer(
        GpuArbiter(devices, ttl=ttl, observer=observer, journal=Journal(journal) if journal else None),
        host,
        port,
        insecure=insecure,
    )
    metrics_server = MetricsServer(server.arbiter.metrics)
    with StopSignals(stopping.set):
        try:
            await server.start()
            gc.collect()
            gc.freeze()  # modules stay until the process ends; full collections that scan them would delay grants
            if metrics is not None:
                log.info("metrics at http://%s/metrics", await metrics_server.start(host, metrics))
            log.info("the GPU arbiter listens on %s", server.address)
            if on_ready is not None:
                on_ready(server.address)
            await stopping.wait()
        finally:
            await metrics_server.stop()
            await server.stop()
