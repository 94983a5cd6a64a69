"""The methods of a kind's gRPC service, read from its definition in `protos`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from lanemesh.helper_kinds import HelperKind
from lanemesh.v1 import control_pb2

_POOL = control_pb2.DESCRIPTOR.pool
"""The definitions of control.proto and of all other protos that are imported."""


@dataclass(frozen=True, slots=True)
class GrpcMethod:
    """One method of a service."""

    path: str
    """As calls name it: "/package.Service/Method"."""
    request: type[Message]
    """The class of its requests."""
    response: type[Message]
    """The class of its responses."""
    streams: bool
    """It answers with a stream of responses."""


def methods_of(kind: HelperKind) -> Mapping[str, GrpcMethod]:
    """The methods of a kind's service, by name."""
    return _methods(kind.service)


@cache
def _methods(service: str) -> Mapping[str, GrpcMethod]:
    found = _POOL.FindServiceByName(service)
    return {
        method.name: GrpcMethod(
            path=f"/{service}/{method.name}",
            request=GetMessageClass(method.input_type),
            response=GetMessageClass(method.output_type),
            streams=method.server_streaming,
        )
        for method in found.methods
    }
