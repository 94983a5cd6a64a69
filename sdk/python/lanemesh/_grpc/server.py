"""A gRPC server as every part of Lanemesh runs one: health, reflection, keepalive, a checked address, a graceful stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from lanemesh._aio.tasks import within
from lanemesh._grpc.call_limit import CallLimit
from lanemesh._grpc.connections import SERVER_OPTIONS, check_not_forked, is_loopback
from lanemesh._grpc.limits import Limits
from lanemesh._grpc.log_once import GRPC_LOGGER, UNREADABLE_REQUESTS
from lanemesh._grpc.reflection import LazyReflection
from lanemesh.faults import Code, Fault, LanemeshError

STOP_SECONDS = 5.0
"""How long calls under way may take when a server stops, before they are cancelled."""
CANCEL_SECONDS = 5.0
"""How long cancelled calls may take to end, before the server is left as it is."""


class GrpcServer:
    """One listening server.

    Register servicers on `server` between making and starting it. Health is NOT_SERVING until `start` and from `stop` on.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        insecure: bool = False,
        limits: Limits | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        """Binds the address; port 0 takes a free one.

        Args:
            limits: what it bears; None: what LANEMESH_LIMITS and the defaults set.
            interceptors: the first one sees a call first. Those that find out who the caller is set `CALLER`; then the calls of one
                caller are limited, too.

        Raises:
            LanemeshError: the port is in use, the host is not loopback and `insecure` is not set, or LANEMESH_LIMITS is invalid.
        """
        if not insecure and not is_loopback(host):
            message = (
                f"{host} can be reached from other machines, and nothing here is encrypted or authenticated. "
                "Listen on 127.0.0.1, or use --insecure if the network is trusted"
            )
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="insecure", message=message))
        check_not_forked()
        GRPC_LOGGER.addFilter(UNREADABLE_REQUESTS)
        self.limits = Limits.of() if limits is None else limits
        """What it bears."""
        self.server = grpc.aio.server(
            interceptors=[*interceptors, CallLimit(self.limits.calls_per_caller)] if interceptors else None,
            options=list(
                {**dict(SERVER_OPTIONS), **dict(self.limits.options())}.items()
            ),  # of two, gRPC takes the first
            maximum_concurrent_rpcs=self.limits.calls,
        )
        self.health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        bracketed = f"[{host}]" if ":" in host else host
        try:
            self.port = self.server.add_insecure_port(f"{bracketed}:{port}")
        except RuntimeError:
            self.port = 0
        if not self.port:
            why = "the port is in use, or the address does not belong to this machine"
            message = f"cannot listen on {bracketed}:{port}: {why}. Choose another --port or --host"
            raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="port-in-use", message=message))
        self.address = f"{bracketed}:{self.port}"

    async def start(self, service_names: Iterable[str]) -> None:
        """Starts serving. The names are those of the services registered, for health and reflection."""
        names = [*service_names, health.SERVICE_NAME]
        self.server.add_generic_rpc_handlers((LazyReflection(names, self.limits.first_frame_seconds),))
        await self.server.start()
        for name in ("", *names):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def not_serving(self) -> None:
        """Turns every service's health to NOT_SERVING; calls are still taken."""
        await self.health.enter_graceful_shutdown()

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Takes no new calls, and cancels those that are still under way after `seconds`."""
        await self.not_serving()
        await within(seconds + CANCEL_SECONDS, f"the gRPC server at {self.address} to stop", self.server.stop(seconds))

    async def __aenter__(self) -> GrpcServer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(0 if error else STOP_SECONDS)
