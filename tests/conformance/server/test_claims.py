"""A node server that claims to be another one: what is registered and alive is not taken over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from lanemesh import Client
from lanemesh._grpc.log_once import LogOnce
from lanemesh._grpc.security import Security
from lanemesh._grpc.status import fault_of
from lanemesh.server.node_server import NodeServer
from lanemesh.v1 import node_pb2, registry_pb2
from lanemesh.v1.registry_pb2_grpc import RegistryServiceStub
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.registry import service

from rigs.runs import line, node, serving

TAG = line(node("a", "tag", "chat"))


@pytest.fixture
async def orchestrator(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Orchestrator]:
    monkeypatch.setattr(service, "refusals", LogOnce(logging.getLogger("lanemesh.registry")))
    made = Orchestrator(embedded=False)
    await made.listen()
    yield made
    await made.close()


@pytest.fixture
async def victim(orchestrator: Orchestrator) -> AsyncIterator[NodeServer]:
    async with serving(orchestrator, "one") as made:
        yield made


def claim(victim: NodeServer, **fields: Any) -> registry_pb2.ServerInfo:
    """What another process says that it is."""
    assert victim.registration is not None
    info = registry_pb2.ServerInfo()
    info.CopyFrom(victim.registration._info)
    del info.manifests[:]
    info.manifests.add(provider="tag", description="Steals texts.", outputs=[node_pb2.OutputPort(name="stolen")])
    info.MergeFrom(registry_pb2.ServerInfo(**fields))
    return info


class Claimant:
    """A stream of a hostile node server."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._channel = grpc.aio.insecure_channel(orchestrator.address)
        self.stream = RegistryServiceStub(self._channel).Register()

    async def join(self, info: registry_pb2.ServerInfo, key: bytes = b"") -> registry_pb2.RegisterResponse:
        """The first response."""
        await self.stream.write(registry_pb2.RegisterRequest(server=info, membership_key=key))
        response = await asyncio.wait_for(self.stream.read(), 20)
        assert isinstance(response, registry_pb2.RegisterResponse)
        return response

    async def refusal(self, info: registry_pb2.ServerInfo, key: bytes = b"") -> tuple[grpc.StatusCode, str]:
        """The code and the reason of the refusal."""
        try:
            await self.join(info, key)
        except grpc.aio.AioRpcError as error:
            fault = fault_of(error)
            assert fault is not None
            return error.code(), fault.reason
        raise AssertionError("it has joined")

    async def close(self) -> None:
        self.stream.cancel()
        await self._channel.close()


@pytest.mark.parametrize("key", [b"", bytes(16), b"guess"])
@pytest.mark.parametrize("address", ["", "127.0.0.1:1"])
async def test_a_process_that_gives_the_instance_id_of_a_member_is_refused(
    orchestrator: Orchestrator, victim: NodeServer, key: bytes, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    before = orchestrator.registry.servers()
    info = claim(victim, **({"address": address} if address else {}))
    async with Client(orchestrator.address) as client, client.run(TAG, open_input=True) as run:
        await run.push("x")
        for _ in range(3):
            hostile = Claimant(orchestrator)
            assert await hostile.refusal(info, key) == (grpc.StatusCode.PERMISSION_DENIED, "server-taken")
            await hostile.close()
        await run.end_input()
        assert (await run.result()).values == ("x",)
    assert [(each.info.name, each.info.address) for each in orchestrator.registry.servers()] == [
        (each.info.name, each.info.address) for each in before
    ]
    logged = [entry.getMessage() for entry in caplog.records if "is not taken as a member" in entry.getMessage()]
    assert len(logged) == 1, logged


async def test_the_server_itself_joins_again_while_its_old_stream_lives(
    orchestrator: Orchestrator, victim: NodeServer
) -> None:
    assert victim.registration is not None
    again = Claimant(orchestrator)
    joined = await again.join(victim.registration._info, victim.registration._key)
    assert joined.registered.name == "one"
    assert [each.info.name for each in orchestrator.registry.servers()] == ["one"]
    await again.close()


async def test_a_key_is_in_no_list(orchestrator: Orchestrator, victim: NodeServer) -> None:
    assert victim.registration is not None
    async with grpc.aio.insecure_channel(orchestrator.address) as channel:
        listed = await RegistryServiceStub(channel).ListNodeServers(registry_pb2.ListNodeServersRequest())
    assert listed.servers[0].info.instance_id == victim.host.instance_id
    assert victim.registration._key not in listed.SerializeToString()


async def test_a_claimed_name_gets_a_number_and_claimed_node_types_are_reported_and_not_used(
    orchestrator: Orchestrator, victim: NodeServer
) -> None:
    hostile = Claimant(orchestrator)
    joined = await hostile.join(claim(victim, instance_id="hostile", address="127.0.0.1:1"))
    assert joined.registered.name == "one-2"
    warned = await asyncio.wait_for(hostile.stream.read(), 20)
    assert isinstance(warned, registry_pb2.RegisterResponse)
    assert 'the node type "tag" of this server is not used' in warned.warning.text
    listed = {each.info.name: list(each.conflicting_providers) for each in orchestrator.registry.servers()}
    assert listed == {"one": [], "one-2": ["tag"]}
    async with Client(orchestrator.address) as client:
        for _ in range(5):
            assert (await client.run(TAG, input="x").result()).values == ("x",)
    await hostile.close()


@pytest.mark.parametrize("answers", [True, False])
async def test_a_claimed_address_is_not_used(
    orchestrator: Orchestrator, victim: NodeServer, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The victim may be too busy to answer who it is."""

    async def no_instance(address: str, security: Security | None) -> str:
        return ""

    if not answers:
        monkeypatch.setattr("lanemesh_orchestrator.registry.addresses._instance_at", no_instance)
    hostile = Claimant(orchestrator)
    joined = await hostile.join(claim(victim, instance_id="hostile", name="two"))
    assert joined.registered.name in ("two", "one-2")
    assert list(orchestrator.registry.members) == ["one"]
    async with Client(orchestrator.address) as client:
        assert (await client.run(TAG, input="x").result()).values == ("x",)
    await hostile.close()


async def test_the_address_of_a_server_that_was_given_to_the_orchestrator_is_not_taken() -> None:
    own = Orchestrator(embedded=False)
    await own.listen()
    async with serving(own, "one") as victim:
        other = Orchestrator(embedded=False, servers=[victim.address])
        await other.listen()
        async with asyncio.timeout(20):
            while not (other.registry.members and other.registry.at(victim.address).info.manifests):  # type: ignore[union-attr]
                await other.registry.changes.wait_at_most(0.1)
        hostile = Claimant(other)
        assert (await hostile.refusal(claim(victim, instance_id="hostile")))[1] == "address-taken"
        await hostile.close()
        async with Client(other.address) as client:
            assert (await client.run(TAG, input="x").result()).values == ("x",)
        await other.close()
    await own.close()


@pytest.mark.parametrize("version", [0, 2])
async def test_a_peer_of_another_version_is_used_with_what_it_supports_and_said_clearly(
    orchestrator: Orchestrator, version: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("lanemesh.server.registration.PROTOCOL_VERSION", version)
    monkeypatch.setattr("lanemesh.server.node_service.PROTOCOL_VERSION", version)
    async with (
        serving(orchestrator, "other", features=("joins", "time-travel")),
        Client(orchestrator.address) as client,
    ):
        assert (await client.run(TAG, input="x").result()).values == ("x",)
        assert (await client.run(TAG, input="y").result()).values == ("y",)
    logged = [entry.getMessage() for entry in caplog.records if "of the protocol" in entry.getMessage()]
    assert len(logged) == 2, logged
    (at_orchestrator,) = [text for text in logged if text.startswith("the node server")]
    (at_server,) = [text for text in logged if text.startswith("the orchestrator")]
    assert f"speaks version {version} of the protocol, and this orchestrator version 1" in at_orchestrator
    assert "all but groups, isolation, lane-keys, merged-frames" in at_orchestrator
    assert f"speaks version 1 of the protocol, and this server version {version}" in at_server
