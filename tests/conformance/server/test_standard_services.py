"""Health, reflection, and clients that know nothing of Lanemesh: the standard services of every server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from rigs.hostile import KINDS, UNARY, Servers, servers
from rigs.runs import chat, pipeline, response

SERVICES = {
    "orchestrator": {
        *("RunService", "RegistryService", "NodeService", "ChannelService", "DeploymentService", "SessionService"),
        *("LlmService", "ToolService", "MemoryService", "AgentService", "GpuArbiterService"),
    },
    "node server": {"NodeService", "LlmService", "ToolService", "MemoryService", "AgentService"},
    "arbiter": {"GpuArbiterService"},
}
"""What each kind of server serves besides health and reflection."""
STANDARD = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def mesh() -> AsyncIterator[Servers]:
    async with servers() as made:
        yield made


class GenericClient:
    """A client that learns from reflection what a server serves, as grpcurl does."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._database = ProtoReflectionDescriptorDatabase(self._channel)
        self._pool = DescriptorPool(self._database)

    def services(self) -> set[str]:
        """The full names of all services."""
        return set(self._database.get_services())

    def methods(self, service: str) -> list[Any]:
        """The descriptors of the methods of a service."""
        return list(self._pool.FindServiceByName(service).methods)

    def call(self, path: str, **fields: Any) -> dict[str, Any]:
        """Calls a method with one request and one response."""
        service, _, name = path.removeprefix("/").partition("/")
        method = next(method for method in self.methods(service) if method.name == name)
        request, response_class = GetMessageClass(method.input_type)(**fields), GetMessageClass(method.output_type)
        call: Any = self._channel.unary_unary(
            path,
            request_serializer=lambda made: made.SerializeToString(),
            response_deserializer=response_class.FromString,
        )
        return MessageToDict(call(request, timeout=20))

    def close(self) -> None:
        self._channel.close()


@pytest.mark.conformance("SRV-01")
@pytest.mark.parametrize("kind", KINDS)
async def test_reflection_lists_the_services_and_a_generic_client_calls_them(mesh: Servers, kind: str) -> None:
    def ask() -> dict[str, Any]:
        client = GenericClient(mesh.address(kind))
        assert client.services() == {f"lanemesh.v1.{name}" for name in SERVICES[kind]} | STANDARD
        assert all(client.methods(service) for service in client.services())
        answer = client.call(UNARY[kind])
        if kind == "orchestrator":
            document = str(pipeline(chat(), response("chat"))).replace("'", '"')
            spec = client.methods("lanemesh.v1.RunService")
            wanted = next(method for method in spec if method.name == "ValidatePipeline").input_type
            request = GetMessageClass(wanted.fields_by_name["spec"].message_type)(pipeline_json=document)
            answer["of a pipeline"] = client.call(UNARY[kind], spec=request)
        client.close()
        return answer

    answer = await asyncio.to_thread(ask)
    match kind:
        case "orchestrator":
            assert [fault["reason"] for fault in answer["faults"]] == ["empty"]
            assert answer["of a pipeline"] == {}
        case "node server":
            assert "tag" in [manifest["provider"] for manifest in answer["manifests"]]
        case "arbiter":
            assert answer["devices"]


@pytest.mark.conformance("SRV-01")
@pytest.mark.parametrize("kind", KINDS)
async def test_the_health_of_every_service_follows_the_state(mesh: Servers, kind: str) -> None:
    names = ["", *(f"lanemesh.v1.{name}" for name in SERVICES[kind]), "grpc.health.v1.Health"]
    async with grpc.aio.insecure_channel(mesh.address(kind)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = {name: aiter(stub.Watch(health_pb2.HealthCheckRequest(service=name))) for name in names}
        for watch in watches.values():
            assert (await anext(watch)).status == SERVING
        unknown = stub.Check(health_pb2.HealthCheckRequest(service="lanemesh.v1.NoService"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unknown
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        match kind:
            case "orchestrator":
                assert await mesh.orchestrator.drain(10)
            case "node server":
                await mesh.node.drain()
            case "arbiter":
                await mesh.arbiter.grpc.not_serving()
        for watch in watches.values():
            assert (await asyncio.wait_for(anext(watch), 10)).status == NOT_SERVING
