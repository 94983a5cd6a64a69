"""gRPC reflection that is loaded at the first call: its modules would cost every idle server a megabyte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import cached_property
from typing import Any

import grpc

from lanemesh._grpc.first_frame import FIRST_FRAME_SECONDS, first_in_time

SERVICE_NAME = "grpc.reflection.v1alpha.ServerReflection"
"""Full name of the reflection service."""
_METHOD = f"/{SERVICE_NAME}/ServerReflectionInfo"


class LazyReflection(grpc.GenericRpcHandler):
    """Serves reflection. Add it with `server.add_generic_rpc_handlers` before the server starts."""

    def __init__(self, service_names: Sequence[str], first_frame_seconds: float = FIRST_FRAME_SECONDS) -> None:
        """`service_names`: full names of the services that the server has."""
        self._first_frame_seconds = first_frame_seconds
        self._service_names = [*service_names, SERVICE_NAME]

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of the one method, and none of any other."""
        if handler_call_details.method != _METHOD:
            return None
        return grpc.stream_stream_rpc_method_handler(
            self._answer,
            request_deserializer=self._request,
            response_serializer=lambda response: response.SerializeToString(),
        )

    def _request(self, raw: bytes) -> Any:
        from grpc_reflection.v1alpha import reflection_pb2

        return reflection_pb2.ServerReflectionRequest.FromString(raw)

    async def _answer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        in_time = first_in_time(requests, context, "request", self._first_frame_seconds)
        async for response in self._servicer.ServerReflectionInfo(in_time, context):
            yield response

    @cached_property
    def _servicer(self) -> Any:
        from grpc_reflection.v1alpha.reflection import aio

        return aio.ReflectionServicer(self._service_names)
