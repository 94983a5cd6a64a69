"""A gRPC server as every part of Lanemesh runs one: health, reflection, keepalive, a checked address, a graceful stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from lanemesh._aio.systemd import ServiceState
from lanemesh._aio.tasks import within
from lanemesh._grpc.call_limit import CallLimit
from lanemesh._grpc.certificates import ServerCertificates
from lanemesh._grpc.connections import SERVER_OPTIONS, check_files, check_not_forked, is_loopback
from lanemesh._grpc.limits import Limits
from lanemesh._grpc.log_once import GRPC_LOGGER, UNREADABLE_REQUESTS
from lanemesh._grpc.reflection import LazyReflection
from lanemesh._grpc.security import Security
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
        security: Security | None = None,
        limits: Limits | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        """Binds the address; port 0 takes a free one.

        Args:
            security: the certificate with which it listens, and the tokens that it accepts; None: what the environment sets.
            limits: what it bears; None: what LANEMESH_LIMITS and the defaults set.
            interceptors: the first one sees a call first. Those that find out who the caller is set `CALLER`; then the calls of one
                caller are limited, too.

        Raises:
            LanemeshError: the port is in use, the files of `security` or LANEMESH_LIMITS are unusable, or the host is not
                loopback, `insecure` is not set, and there is no TLS with tokens or certificates of clients.
        """
        security = security or Security.from_environment()
        if not insecure and not is_loopback(host) and not (security.serves_tls and security.is_authenticated):
            raise _insecure(host, security)
        check_not_forked()
        check_files(security)
        GRPC_LOGGER.addFilter(UNREADABLE_REQUESTS)
        self.limits = Limits.of() if limits is None else limits
        """What it bears."""
        credentials = ServerCertificates(security).credentials() if security.serves_tls else None
        if security.auth is not None:
            interceptors = [_token_interceptor(security.auth), *interceptors]
        self.server = grpc.aio.server(
            interceptors=[*interceptors, CallLimit(self.limits.calls_per_caller)] if interceptors else None,
            options=list(
                {**dict(SERVER_OPTIONS), **dict(self.limits.options())}.items()
            ),  # of two, gRPC takes the first
            maximum_concurrent_rpcs=self.limits.calls,
        )
        self.health = health.aio.HealthServicer()
        self._service = ServiceState()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        bracketed = f"[{host}]" if ":" in host else host
        try:
            if credentials is None:
                self.port = self.server.add_insecure_port(f"{bracketed}:{port}")
            else:
                self.port = self.server.add_secure_port(f"{bracketed}:{port}", credentials)
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
        await self._start()
        for name in ("", *names):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._service.ready()

    async def _start(self) -> None:
        """Starts gRPC's server. A cancellation waits for it, and stops it again: gRPC would log errors of a half-started one."""
        starting = asyncio.ensure_future(self.server.start())
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait({starting})
            await self.server.stop(0)
            raise

    async def not_serving(self) -> None:
        """Turns every service's health to NOT_SERVING; calls are still taken."""
        self._service.stopping()
        await self.health.enter_graceful_shutdown()

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Takes no new calls, and cancels those that are still under way after `seconds`."""
        await self.not_serving()
        try:
            await within(
                seconds + CANCEL_SECONDS, f"the gRPC server at {self.address} to stop", self.server.stop(seconds)
            )
        finally:
            await self._service.close()

    async def __aenter__(self) -> GrpcServer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(0 if error else STOP_SECONDS)


def _token_interceptor(file: Path) -> grpc.aio.ServerInterceptor:
    # Imported where tokens are required: most servers of one machine require none.
    from lanemesh._grpc.auth.interceptor import TokenInterceptor
    from lanemesh._grpc.auth.tokens import AcceptedTokens

    return TokenInterceptor(AcceptedTokens(file))


def _insecure(host: str, security: Security) -> LanemeshError:
    """The error of a server that others could reach without protection."""
    if security.serves_tls:
        lacks, do = "clients are not authenticated", "set LANEMESH_AUTH to a file of tokens, or LANEMESH_MTLS=1"
    elif security.auth is not None:
        lacks, do = "tokens would cross the network without encryption", "set LANEMESH_TLS_CERT and LANEMESH_TLS_KEY"
    else:
        lacks = "nothing here is encrypted or authenticated"
        do = "set LANEMESH_TLS_CERT, LANEMESH_TLS_KEY and LANEMESH_AUTH"
    message = (
        f"{host} can be reached from other machines, and {lacks}. Listen on 127.0.0.1; or {do}, see docs/security.md; or use "
        "--insecure if the network is trusted"
    )
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="insecure", message=message))
