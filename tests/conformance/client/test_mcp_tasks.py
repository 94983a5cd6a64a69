"""Tasks of an MCP server before a mesh, as its clients poll them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

import pytest
from lanemesh import Client, Deployed
from lanemesh.client.watching import GrpcDetachedLink
from lanemesh_orchestrator.mcp_server.server import MeshServer
from lanemesh_orchestrator.mcp_server.tasks import TASKS, TaskParams, TaskUpdateParams
from mcp.client import Client as McpClient
from mcp.client.extension import advertise
from mcp_types import Request
from pydantic import TypeAdapter

from rigs.mcp_mesh import job, mesh

ANSWER: TypeAdapter[Any] = TypeAdapter(dict[str, Any])


@pytest.fixture
async def mesh_client() -> AsyncIterator[Client]:
    async with mesh(careful=job({}, approvals=2, text="{decisions}")) as address, Client(address) as client:
        yield client


async def request(client: McpClient, method: str, params: TaskParams) -> dict[str, Any]:
    """The answer to a request about a task."""
    answer = await client.session.send_request(Request[Any, Any](method=method, params=params), ANSWER)
    return cast("dict[str, Any]", answer)


async def test_a_task_that_waits_for_approvals_is_got_without_its_log(
    mesh_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unread(self: GrpcDetachedLink, from_sequence: int) -> AsyncGenerator[Any, None]:
        raise AssertionError("the log is read")
        yield

    run = await mesh_client.start(Deployed("careful"), inputs=[{}])
    async with asyncio.timeout(60), McpClient(MeshServer(mesh_client), extensions=[advertise(TASKS)]) as client:
        while len((await mesh_client.record(run.id)).approvals) < 2:  # noqa: ASYNC110 - nothing else reports it
            await asyncio.sleep(0.01)
        with monkeypatch.context() as patched:
            patched.setattr(GrpcDetachedLink, "batches", unread)
            task = await request(client, "tasks/get", TaskParams(task_id=run.id))
            assert task["status"] == "input_required"
            keys = sorted(task["inputRequests"])
            assert len(keys) == 2
            answers = {keys[0]: {"action": "accept", "content": {}}}
            await request(client, "tasks/update", TaskUpdateParams(task_id=run.id, input_responses=answers))
            task = await request(client, "tasks/get", TaskParams(task_id=run.id))
            assert sorted(task["inputRequests"]) == keys[1:]
        answers = {keys[1]: {"action": "decline"}}
        await request(client, "tasks/update", TaskUpdateParams(task_id=run.id, input_responses=answers))
        await run.result()
        task = await request(client, "tasks/get", TaskParams(task_id=run.id))
    assert task["status"] == "completed"
    (text,) = task["result"]["content"]
    assert "yes" in text["text"]
    assert "no (the user refused it)" in text["text"]
