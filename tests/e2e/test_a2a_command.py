"""`lanemesh a2a` with the official client of the protocol, by JSON-RPC and by gRPC."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import grpc.aio
import pytest
from a2a.client import ClientConfig, ClientFactory
from a2a.types import a2a_pb2, a2a_pb2_grpc
from a2a.utils.constants import TransportProtocol
from a2a.utils.errors import TaskNotCancelableError, TaskNotFoundError, UnsupportedOperationError
from lanemesh import Client
from lanemesh.faults import LanemeshError
from lanemesh_orchestrator.a2a_server.server import A2aServer
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.a2a_mesh import GATED, NODES, agent, message, texts
from rigs.forked import forked
from rigs.mcp_mesh import ECHO, content

PIPELINES = {"echo": ECHO, "fails": content({"text": "before"}, {"fail": "it is broken"}), "gated": GATED}
COMPLETED, CANCELED = a2a_pb2.TASK_STATE_COMPLETED, a2a_pb2.TASK_STATE_CANCELED


@pytest.fixture(params=["JSONRPC", "GRPC"])
def binding(request: pytest.FixtureRequest) -> str:
    return TransportProtocol(request.param).value


@asynccontextmanager
async def served() -> AsyncIterator[tuple[str, Client]]:
    """The URL of `lanemesh a2a` for a mesh, and a client of the mesh."""
    orchestrator = Orchestrator(embedded=True, nodes=NODES)
    await orchestrator.listen()
    words = ("a2a", f"--mesh={orchestrator.address}", "--http=0", "--grpc=0")
    process = await forked(*words, stderr=PIPE)
    assert process.stderr is not None
    try:
        async with Client(orchestrator.address) as client:
            for name, pipeline in PIPELINES.items():
                await client.deploy(name, pipeline)
            line = (await process.stderr.readline()).decode()
            assert line.startswith("the A2A server of "), line + (await process.stderr.read()).decode()
            yield line.partition(" listens at ")[2].partition(",")[0].strip(), client
    finally:
        if process.returncode is None:
            process.terminate()
        sys.stderr.write((await process.stderr.read()).decode())
        await process.wait()
        await orchestrator.close()


async def test_a_message_is_answered_and_the_task_can_be_got(binding: str) -> None:
    async with served() as (url, mesh), agent(url, "echo", binding, streaming=False) as client:
        (answer,) = [event async for event in client.send_message(message("hello"))]
        assert answer.task.status.state == COMPLETED
        assert texts(answer.task) == ["hello"]
        assert (await mesh.record(answer.task.id)).state == "completed"
        got = await client.get_task(a2a_pb2.GetTaskRequest(id=answer.task.id))
        assert (got.status.state, texts(got)) == (COMPLETED, ["hello"])
        listed = await client.list_tasks(a2a_pb2.ListTasksRequest())
        assert [task.id for task in listed.tasks] == [answer.task.id]
        with pytest.raises(TaskNotFoundError):
            await client.get_task(a2a_pb2.GetTaskRequest(id="run-000000000000"))
        async with agent(url, "fails", binding, streaming=False) as other:
            with pytest.raises(TaskNotFoundError):  # a task of another agent
                await other.get_task(a2a_pb2.GetTaskRequest(id=answer.task.id))
            (failed,) = [event async for event in other.send_message(message("hello"))]
            assert failed.task.status.state == a2a_pb2.TASK_STATE_FAILED
            assert "it is broken" in failed.task.status.message.parts[0].text


async def test_a_subscription_loses_no_event_and_gets_the_end(binding: str) -> None:
    async with served() as (url, mesh), agent(url, "gated", binding) as client, agent(url, "gated", binding) as other:
        stream = client.send_message(message("a b c"))
        first = await anext(stream)
        task_id = first.task.id
        assert (await anext(stream)).artifact_update.artifact.parts[0].text == "a"
        subscription = other.subscribe(a2a_pb2.SubscribeToTaskRequest(id=task_id))
        events = [await anext(subscription)]
        await mesh.channels(task_id).publish("gate", "b")
        await mesh.channels(task_id).publish("gate", "c")
        events += [event async for event in subscription]
        assert events[0].WhichOneof("payload") == "task"
        seen = texts(events[0].task) + [
            part.text for event in events[1:] for part in event.artifact_update.artifact.parts
        ]
        assert seen == ["a", "b", "c"]
        assert events[-1].status_update.status.state == COMPLETED
        rest = [event async for event in stream]
        assert rest[-1].status_update.status.state == COMPLETED
        assert [event.artifact_update.artifact.parts[0].text for event in rest[:-1]] == ["b", "c"]
        with pytest.raises(UnsupportedOperationError):
            await anext(other.subscribe(a2a_pb2.SubscribeToTaskRequest(id=task_id)))


async def test_a_cancelled_task_ends_its_streams_and_its_run(binding: str) -> None:
    async with served() as (url, mesh), agent(url, "gated", binding) as client, agent(url, "gated", binding) as other:
        stream = client.send_message(message("a b"))
        task_id = (await anext(stream)).task.id
        assert (await anext(stream)).artifact_update.artifact.parts[0].text == "a"
        cancelled = await other.cancel_task(a2a_pb2.CancelTaskRequest(id=task_id))
        assert (cancelled.status.state, texts(cancelled)) == (CANCELED, ["a"])
        assert [event async for event in stream][-1].status_update.status.state == CANCELED
        assert (await mesh.record(task_id)).state == "cancelled"
        with pytest.raises(TaskNotCancelableError):
            await other.cancel_task(a2a_pb2.CancelTaskRequest(id=task_id))


async def test_an_orchestrator_serves_agents_at_its_own_port(tmp_path: Path) -> None:
    process = await forked("serve", "--port=0", "--store=none", "--a2a", stderr=PIPE, folder=tmp_path)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while "reached at " not in (line := (await process.stderr.readline()).decode()):
                assert line, "it has ended"
        address = line.rpartition("reached at ")[2].strip()
        node = await forked("node", "text", f"--orchestrator={address}", "--port=0", "--log-level=info", stderr=PIPE)
        try:
            async with Client(address) as mesh, grpc.aio.insecure_channel(address) as channel, asyncio.timeout(60):
                assert node.stderr is not None
                while "joined as " not in (line := (await node.stderr.readline()).decode()):
                    assert line, "the node server has ended"
                await mesh.deploy("echo", ECHO)
                stub: Any = a2a_pb2_grpc.A2AServiceStub(channel)  # type: ignore[no-untyped-call]
                card = await stub.GetExtendedAgentCard(a2a_pb2.GetExtendedAgentCardRequest(tenant="echo"))
                assert [one.protocol_binding for one in card.supported_interfaces] == ["GRPC"]
                config = ClientConfig(
                    supported_protocol_bindings=["GRPC"], grpc_channel_factory=grpc.aio.insecure_channel
                )
                client = ClientFactory(config).create(card)
                events = [event async for event in client.send_message(message("hello"))]
                assert events[-1].status_update.status.state == COMPLETED
                await client.close()
        finally:
            node.terminate()
            await node.wait()
    finally:
        process.terminate()
        ended = (await process.stderr.read()).decode()
        assert await process.wait() == 0
        assert "Traceback" not in ended


async def test_a_token_is_not_taken_by_plain_grpc_from_other_machines() -> None:
    async with Client("127.0.0.1:1") as mesh:
        with pytest.raises(LanemeshError, match="without encryption") as caught:
            A2aServer(mesh, "0.0.0.0", 0, grpc_port=0, token="secret")
        assert caught.value.fault.reason == "insecure-token"
        for options in ({"grpc_port": 0, "insecure": True}, {"grpc_port": None}):
            A2aServer(mesh, "0.0.0.0", 0, token="secret", **options).close()
