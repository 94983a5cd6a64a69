"""`python -m lanemesh.server.health HOST:PORT`: checks whether a server is serving; for health checks of containers."""

from __future__ import annotations

import argparse
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lanemesh._grpc.connections import NO_PROXY

SECONDS = 3.0
"""How long the server has for its answer."""


def check(address: str) -> str:
    """The status that the server reports, such as "SERVING"; grpc.RpcError if it reports none within `SECONDS`."""
    with grpc.insecure_channel(address, options=[NO_PROXY]) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main() -> int:
    """Prints the status; 0 if it is SERVING."""
    parser = argparse.ArgumentParser(
        prog="python -m lanemesh.server.health", description="Print the health of a server."
    )
    parser.add_argument("address", metavar="HOST:PORT")
    options = parser.parse_args()
    try:
        status = check(options.address)
    except grpc.RpcError as error:
        status = f"{error.code().name}: {error.details()}"
    print(f"{options.address} {status}")
    return 0 if status == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main())
