"""`python -m lanemesh.server.health HOST:PORT`: checks whether a server is serving; for health checks of containers."""

from __future__ import annotations

import argparse
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lanemesh._grpc.certificates import channel_credentials, name_options
from lanemesh._grpc.connections import NO_PROXY
from lanemesh._grpc.security import Security
from lanemesh.faults import LanemeshError

SECONDS = 3.0
"""How long the server has for its answer."""


def check(address: str) -> str:
    """The status that the server reports, such as "SERVING"; grpc.RpcError if it reports none within `SECONDS`. It needs no token,
    and TLS if `LANEMESH_TLS_CA` is set. Raises LanemeshError if the files of TLS cannot be used."""
    with _channel(address, Security.from_environment()) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _channel(address: str, security: Security) -> grpc.Channel:
    if not security.dials_tls:
        return grpc.insecure_channel(address, options=[NO_PROXY])
    return grpc.secure_channel(address, channel_credentials(security), options=[NO_PROXY, *name_options(security)])


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
    except LanemeshError as error:
        status = str(error)
    print(f"{options.address} {status}")
    return 0 if status == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main())
