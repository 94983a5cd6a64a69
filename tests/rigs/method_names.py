"""The methods of a running server, as reflection lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a server."""

    path: str
    """Its name in a call: "/service/method"."""
    streams_requests: bool
    streams_responses: bool

    def call(self, channel: grpc.aio.Channel, **options: Any) -> Any:
        """Calls it with an empty message."""
        kinds = (
            (channel.unary_unary, channel.unary_stream),
            (channel.stream_unary, channel.stream_stream),
        )
        method: Any = kinds[self.streams_requests][self.streams_responses](self.path)
        return method(iter([b""]) if self.streams_requests else b"", timeout=10, **options)

    async def status(self, channel: grpc.aio.Channel, **options: Any) -> grpc.StatusCode:
        """The status of such a call."""
        call = self.call(channel, **options)
        code: grpc.StatusCode = await call.code()
        return code


async def methods_of(channel: grpc.aio.Channel) -> list[Method]:
    """All methods of the server at the end of a channel."""
    ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
    request = reflection_pb2.ServerReflectionRequest
    listed = [answer async for answer in ask(iter([request(list_services="")]))]
    names = [service.name for service in listed[0].list_services_response.service]
    found: list[Method] = []
    async for answer in ask(iter([request(file_containing_symbol=name) for name in names])):
        for raw in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            found += [
                Method(
                    f"/{file.package}.{service.name}/{method.name}", method.client_streaming, method.server_streaming
                )
                for service in file.service
                if f"{file.package}.{service.name}" in names
                for method in service.method
            ]
    return sorted(set(found), key=lambda method: method.path)
