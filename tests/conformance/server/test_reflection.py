"""Reflection is served, and loaded only when a client requests it."""

from __future__ import annotations

import subprocess
import sys

import grpc.aio
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from lanemesh._grpc.reflection import SERVICE_NAME
from lanemesh._grpc.server import GrpcServer
from lanemesh.v1 import node_pb2

NODE_SERVICE = node_pb2.DESCRIPTOR.services_by_name["NodeService"].full_name


async def test_reflection_lists_the_services_and_shows_their_files() -> None:
    async with GrpcServer() as server:
        await server.start([NODE_SERVICE])
        async with grpc.aio.insecure_channel(server.address) as channel:
            ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
            request = reflection_pb2.ServerReflectionRequest
            wanted = [request(list_services=""), request(file_containing_symbol=NODE_SERVICE)]
            answers = [answer async for answer in ask(iter(wanted))]

    names = {service.name for service in answers[0].list_services_response.service}
    assert names == {NODE_SERVICE, "grpc.health.v1.Health", SERVICE_NAME}
    assert any(b"lanemesh/v1/node.proto" in file for file in answers[1].file_descriptor_response.file_descriptor_proto)


def test_a_node_server_does_not_load_reflection_before_that() -> None:
    program = (
        "import sys, lanemesh.server.node_server; print([name for name in sys.modules if 'reflection.v1' in name])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
