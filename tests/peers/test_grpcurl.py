"""grpcurl, which knows a server by its reflection alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from lanemesh.server.node_server import NodeServer
from lanemesh_orchestrator.orchestrator import Orchestrator

from peers.programs import grpcurl
from rigs.joined import TAGS, mesh_of

Mesh = tuple[Orchestrator, NodeServer]


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with mesh_of("worker") as (orchestrator, _, (server,)):
        yield orchestrator, server


async def test_reflection_lists_and_describes_the_services(mesh: Mesh) -> None:
    orchestrator, server = mesh
    services = (await grpcurl(orchestrator.address, "list")).split()
    assert {"lanemesh.v1.RunService", "lanemesh.v1.DeploymentService", "grpc.health.v1.Health"} <= set(services)
    assert "lanemesh.v1.NodeService" in (await grpcurl(server.address, "list")).split()
    described = await grpcurl(orchestrator.address, "describe", "lanemesh.v1.RunService")
    assert (
        "rpc WatchRun ( .lanemesh.v1.WatchRunRequest ) returns ( stream .lanemesh.v1.WatchRunResponse );" in described
    )
    message = await grpcurl(server.address, "describe", "lanemesh.v1.LaneCredit")
    assert "uint64 taken_items = 1;" in message


async def test_health_of_servers_and_of_their_services(mesh: Mesh) -> None:
    orchestrator, server = mesh
    for address, service in (
        (orchestrator.address, "lanemesh.v1.RunService"),
        (server.address, "lanemesh.v1.NodeService"),
    ):
        for name in ("", service):
            answer = await grpcurl(address, "grpc.health.v1.Health/Check", data=json.dumps({"service": name}))
            assert json.loads(answer) == {"status": "SERVING"}


async def test_a_pipeline_is_validated(mesh: Mesh) -> None:
    orchestrator, _ = mesh

    async def faults(pipeline: object) -> list[str]:
        request = json.dumps({"spec": {"pipeline_json": json.dumps(pipeline)}})
        answer = await grpcurl(orchestrator.address, "lanemesh.v1.RunService/ValidatePipeline", data=request)
        return [fault["reason"] for fault in json.loads(answer).get("faults", [])]

    assert await faults(TAGS) == []
    assert await faults({"components": [{"id": "a", "provider": "none-such"}]}) == ["unknown-provider"]


async def test_a_run_is_started_and_watched_to_its_end(mesh: Mesh) -> None:
    orchestrator, _ = mesh
    request = json.dumps({"spec": {"pipeline_json": json.dumps(TAGS)}, "inputs": [{"item": {"text": "hello"}}]})
    started = await grpcurl(orchestrator.address, "lanemesh.v1.RunService/StartRun", data=request)
    watch = json.dumps({"run_id": json.loads(started)["run_id"]})
    printed = await grpcurl(orchestrator.address, "lanemesh.v1.RunService/WatchRun", data=watch)
    frames = "[" + printed.replace("}\n{", "},\n{") + "]"
    updates = [update for frame in json.loads(frames) for update in frame.get("updates", [])]
    assert [update["output"]["item"]["text"] for update in updates if "output" in update] == ["hello"]
    assert updates[-1]["job"]["state"] == "RUN_STATE_COMPLETED"


async def test_an_error_has_its_reason(mesh: Mesh) -> None:
    orchestrator, _ = mesh
    with pytest.raises(AssertionError, match=r"(?s)NotFound.*unknown-run"):
        await grpcurl(orchestrator.address, "lanemesh.v1.RunService/GetRun", data='{"run_id": "run-none"}')
