"""A pipeline as a tool: in one process, and on a mesh of servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lanemesh import Client, LanemeshError, Service
from lanemesh.client.run_host import RunHost
from lanemesh.server.services import all_services
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_services.tools.pipeline import ToolPipeline

from rigs import asking_nodes
from rigs.runs import Component, chat, line, node, pipeline, serving

OWN = [asking_nodes.asking, asking_nodes.shouting, asking_nodes.structured, asking_nodes.breaking]
MORE = [asking_nodes.hanging, asking_nodes.flooding]


@pytest.fixture(params=["one process", "servers"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[RunHost]:
    """A mesh, and what runs pipelines on it."""
    asking_nodes.HANGING.clear()
    asking_nodes.CANCELLED.clear()
    if request.param == "one process":
        async with Mesh() as local:
            local.orchestrator.host.node_types.replace([Service("own", [*OWN, *MORE, ToolPipeline])])
            yield local
        return
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    try:
        async with (
            serving(orchestrator, "tools", services=[Service("tools", [ToolPipeline])]),
            serving(orchestrator, "own", services=[Service("own", [*OWN, *MORE]), *all_services(["text"])]),
            Client(orchestrator.address) as client,
        ):
            yield client
    finally:
        await orchestrator.close()


def asking(**config: Any) -> dict[str, Any]:
    """A pipeline whose node calls a pipeline as a tool."""
    tool: Component = {**node("work", "tool_pipeline"), "control": [{"classType": "tool", "from": "ask"}]}
    tool["config"] = {"description": "Works.", **config}
    asked = line(node("ask", "asking", "chat", tool="work"))
    return pipeline(*asked["components"], tool)


async def ask(mesh: RunHost, session: str = "", **config: Any) -> list[Any]:
    """The progress of a call, and whether it failed with its value at the end."""
    result = await mesh.run(asking(**config), input="go", session=session).result()
    result.raise_for_state()
    events: list[Any] = json.loads(result.text)
    return events


def document(provider: str) -> dict[str, Any]:
    """A pipeline with one node."""
    kind = "answers" if provider == "structured" else "text"
    out: Component = {"id": "out", "provider": "response", "input": [{"lane": kind, "from": "inner"}]}
    return pipeline(chat(), node("inner", provider, "chat"), out)


async def test_happy_a_document(mesh: RunHost) -> None:
    *progress, result = await ask(mesh, document=document("shouting"), name="work", session="talk")
    assert result == [False, "GO! talk"]
    assert set(progress) <= {"inner: half"}
    assert (await ask(mesh, document=document("structured"), name="work"))[-1] == [False, {"asked": "go"}]


async def test_happy_a_deployed_pipeline(mesh: RunHost) -> None:
    await mesh.deploy("work", document("shouting"))
    assert (await ask(mesh, pipeline="@work"))[-1] == [False, "GO! "]


@pytest.mark.parametrize(
    ("provider", "said"),
    [("breaking", "ValueError: no go"), ("flooding", "returned too much"), ("gone", "gone")],
)
async def test_error_a_run_that_fails_is_a_result(mesh: RunHost, provider: str, said: str) -> None:
    failed, error = (await ask(mesh, document=document(provider), name="work"))[-1]
    assert failed
    assert said in error["error"]


async def test_error_a_deployment_that_is_missing_is_a_result(mesh: RunHost) -> None:
    failed, error = (await ask(mesh, pipeline="@work"))[-1]
    assert failed
    assert "work" in error["error"]


async def test_error_a_run_that_hangs_is_cancelled(mesh: RunHost) -> None:
    failed, error = (await ask(mesh, document=document("hanging"), name="work", timeout=0.3))[-1]
    assert failed
    assert error["reason"] in ("tool-timeout", "timeout")
    assert await asyncio.to_thread(asking_nodes.CANCELLED.wait, 5)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "config.pipeline is not set"),
        ({"pipeline": "@a", "document": {"components": []}}, "is set together with config.document"),
        ({"document": {"components": []}}, "A document needs a name for its tool"),
    ],
)
async def test_error_settings_that_contradict_each_other(mesh: RunHost, config: dict[str, Any], said: str) -> None:
    with pytest.raises(LanemeshError, match=said):
        await ask(mesh, **config)


@pytest.mark.conformance("CTRL-10")
async def test_shutdown_cancelling_the_caller_cancels_the_run(mesh: RunHost) -> None:
    run = mesh.run(asking(document=document("hanging"), name="work"), input="go")
    task = asyncio.create_task(run.result())
    assert await asyncio.to_thread(asking_nodes.HANGING.wait, 10)
    await run.cancel("enough")
    assert await asyncio.to_thread(asking_nodes.CANCELLED.wait, 2)
    await task


async def test_error_a_pipeline_that_calls_itself_ends_at_the_limit_of_depth(mesh: RunHost) -> None:
    looping = asking(pipeline="@work")
    await mesh.deploy("work", looping)
    result = await mesh.run(looping, input="go").result()
    assert "8 runs are above this run already" in result.text
    ended = [str(record.state) for record in await mesh.runs(limit=100)]
    assert ended == ["completed"] * 9  # the run of the client, and eight below it


async def test_a_spread_mesh_starts_the_servers_of_a_nested_document() -> None:
    async with Mesh(spread="service", nodes=[asking_nodes.__file__]) as mesh:
        assert (await ask(mesh, document=document("upper_case"), name="work"))[-1] == [False, "GO"]
