"""The arbiter as a process of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from lanemesh.gpu import GpuArbiter, find_devices
from lanemesh.gpu.core import TTL
from lanemesh.lanes.channels import SERVER_OPTIONS
from lanemesh.lanes.faults import Code, Fault, LanemeshError
from lanemesh.v1 import gpu_pb2, gpu_pb2_grpc

from lanemesh_services.gpu_arbiter.service import GpuArbiterServicer

GRACE = 5.0
"""Seconds that holders have to take in that the arbiter stops."""

_SERVICE = gpu_pb2.DESCRIPTOR.services_by_name["GpuArbiterService"].full_name
_log = logging.getLogger("lanemesh.gpu")


class ArbiterServer:
    """The arbiter's gRPC server, with health and reflection."""

    def __init__(self, arbiter: GpuArbiter, host: str = "127.0.0.1", port: int = 0, *, insecure: bool = False) -> None:
        self._arbiter = arbiter
        self._host = host
        self._wanted_port = port
        self._insecure = insecure
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()
        self.address = ""
        """Where it listens, "host:port", once started."""

    async def start(self) -> str:
        """Listens and returns the address. Raises `LanemeshError` if the port is taken or others could reach it."""
        if not self._insecure and not _is_loopback(self._host):
            raise _cannot_listen(
                "insecure-listen",
                f"The GPU arbiter will not listen on {self._host}, where others can reach it without encryption. "
                "Say --insecure if the network is trusted, or listen on 127.0.0.1.",
            )
        server = grpc.aio.server(options=SERVER_OPTIONS)
        gpu_pb2_grpc.add_GpuArbiterServiceServicer_to_server(GpuArbiterServicer(self._arbiter), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            port = server.add_insecure_port(f"{host}:{self._wanted_port}")
        except RuntimeError:
            port = 0
        if not port:
            raise _cannot_listen(
                "port-in-use",
                f"The GPU arbiter cannot listen on {host}:{self._wanted_port}: the port is in use or not allowed. "
                "Choose another one with --port, or 0 for any free one.",
            )
        await server.start()
        for service in ("", _SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._server, self.address = server, f"{host}:{port}"
        return self.address

    async def stop(self) -> None:
        """Tells every holder and waiter, lets them end their streams within the grace, and closes."""
        if self._server is not None:
            await self._health.enter_graceful_shutdown()
            self._arbiter.close()
            await self._server.stop(GRACE)
            self._server = None


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    insecure: bool = False,
    ttl: float = TTL,
    on_ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serves the devices of this machine until SIGTERM, SIGINT or `stop`; a second signal ends the process at once.

    `on_ready` is called with the address once it serves. `insecure` allows to listen where other machines can reach it.
    """
    stopping = asyncio.Event() if stop is None else stop
    server = ArbiterServer(GpuArbiter(find_devices(), ttl=ttl), host, port, insecure=insecure)
    address = await server.start()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def on_signal() -> None:
        stopping.set()
        for number in signals:
            loop.remove_signal_handler(number)

    try:
        for number in signals:
            loop.add_signal_handler(number, on_signal)
        _log.info("GPU arbiter serves on %s", address)
        if on_ready is not None:
            on_ready(address)
        await stopping.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        await server.stop()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cannot_listen(reason: str, message: str) -> LanemeshError:
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason=reason, message=message))
