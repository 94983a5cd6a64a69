"""A node server of level L0 without the SDK: gRPC, the stubs, and the rules of docs/protocol.md. It has no feature."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from lanemesh.v1 import node_pb2_grpc

from rigs.bare_server.faults import OPTIONS
from rigs.bare_server.service import BareService


@contextlib.asynccontextmanager
async def bare_server() -> AsyncIterator[str]:
    """A server of level L0 in this process. Yields its address."""
    server = grpc.aio.server(options=OPTIONS)
    node_pb2_grpc.add_NodeServiceServicer_to_server(BareService(), server)  # type: ignore[abstract]
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    for name in ("", "lanemesh.v1.NodeService"):
        await healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
