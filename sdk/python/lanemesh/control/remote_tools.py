"""The tools of a server at an address, outside of any pipeline: any server of `ToolService`, in any language."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

import grpc
import grpc.aio

from lanemesh._grpc.certificates import channel_credentials
from lanemesh._grpc.connections import (
    CHANNEL_OPTIONS,
    NO_PROXY,
    check_host_port,
    check_not_forked,
    host_of,
    is_loopback,
)
from lanemesh._grpc.run_depth import depth_metadata
from lanemesh._grpc.security import Security
from lanemesh.chat import ToolEvent
from lanemesh.control.grpc_link import GrpcLink
from lanemesh.control.tools import LinkedTools
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.values import ToolCall, ToolSpec


class RemoteTools:
    """The tools of a server. It connects with the first call; `close` ends it."""

    def __init__(
        self,
        address: str,
        *,
        tls: bool = False,
        ca: bytes | None = None,
        server_name: str = "",
        token: str = "",
        component: str = "",
        timeout: float | None = None,
        invoker: str = "",
    ) -> None:
        """
        Args:
            address: "host:port".
            tls: the connection is encrypted, and the server verified.
            ca: the certificates that verify the server, in PEM form. None: those of `LANEMESH_TLS_CA`, with the certificate of
                `LANEMESH_TLS_CERT` as that of the client; without these variables: those of the system.
            server_name: the name in the server's certificate; empty: the host of the address.
            token: sent as "authorization: Bearer TOKEN"; only by TLS, or to this machine.
            component: the component that serves the tools, for servers that have several.
            timeout: most seconds for a call that has no limit of its own; None: no limit.
            invoker: the calling component, for errors.

        Raises:
            LanemeshError: the address is none, or a token would be sent without encryption.
        """
        check_host_port(address)
        if token and not tls and not is_loopback(host_of(address)):
            message = f"the token for {address} would be sent without encryption. Set tls, or remove the token"
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="insecure-token", message=message))
        check_not_forked()
        options = [*CHANNEL_OPTIONS, *([NO_PROXY] if is_loopback(host_of(address)) else [])]
        if tls:
            named = [("grpc.ssl_target_name_override", server_name)] if server_name else []
            if ca is None:
                credentials = channel_credentials(Security.from_environment().for_client(None, tls=True))
            else:
                credentials = grpc.ssl_channel_credentials(root_certificates=ca)
            self._channel = grpc.aio.secure_channel(address, credentials, options=[*options, *named])
        else:
            self._channel = grpc.aio.insecure_channel(address, options=options)
        more = (("authorization", f"Bearer {token}"),) if token else ()
        self._link = partial(
            GrpcLink,
            HELPER_KINDS["tool"],
            self._channel,
            "",
            component,
            timeout,
            invoker=invoker,
            address=address,
        )
        self._more = more

    async def list(self, *, depth: int = 0) -> list[ToolSpec]:
        """Its tools; `depth` as for `call`. Raises LanemeshError if it cannot be reached within 10 s, or its answer is invalid."""
        tools = self._tools(depth)
        await tools.reach_server()
        return await tools.list()

    def call(self, call: ToolCall, timeout: float | None = None, *, depth: int = 0) -> AsyncGenerator[ToolEvent, None]:
        """Calls one of its tools: any progress, then a result. Leaving the iteration cancels the call.

        Args:
            call: the call.
            timeout: most seconds; None: that of the connection.
            depth: how many runs are above those that the server starts for the call, if it is an orchestrator: for a node,
                `context.depth + 1`.

        Raises:
            LanemeshError: the server's own fault, "helper-timeout", or that of the connection.
        """
        return self._tools(depth).call(call, timeout)

    async def close(self) -> None:
        """Closes the connection, which ends its calls."""
        await self._channel.close()

    def _tools(self, depth: int) -> LinkedTools:
        return LinkedTools(self._link(metadata=(*self._more, *depth_metadata(depth))))
