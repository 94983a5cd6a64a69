"""A pipeline as a node of another one: in one process, and on a mesh of servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lanemesh import (
    Client,
    LanemeshError,
    LogUpdate,
    ProgressUpdate,
    Service,
    ThoughtUpdate,
    ToolCallUpdate,
    ToolResultUpdate,
)
from lanemesh.client.run_host import RunHost
from lanemesh.server.services import all_services
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_services.flow.sub_pipeline import SubPipeline

from rigs import asking_nodes
from rigs.runs import Pipeline, chat, line, node, pipeline, response, serving

OWN = [
    *(asking_nodes.shouting, asking_nodes.breaking, asking_nodes.structured, asking_nodes.hanging),
    *(asking_nodes.streaming, asking_nodes.reporting),
]
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["one process", "servers"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[RunHost]:
    """A mesh, and what runs pipelines on it."""
    asking_nodes.HANGING.clear()
    asking_nodes.CANCELLED.clear()
    if request.param == "one process":
        async with Mesh() as local:
            local.orchestrator.host.node_types.replace([Service("own", [*OWN, SubPipeline])])
            yield local
        return
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    try:
        async with (
            serving(orchestrator, "flow", services=[Service("flow", [SubPipeline])]),
            serving(orchestrator, "own", services=[Service("own", OWN), *all_services(["text"])]),
            Client(orchestrator.address) as client,
        ):
            yield client
    finally:
        await orchestrator.close()


def inner(provider: str = "shouting") -> Pipeline:
    """A pipeline with one node, whose target is "out"."""
    lane = "answers" if provider in ("structured", "streaming") else "text"
    return pipeline(
        chat(),
        node("work", provider, "chat"),
        {"id": "out", "provider": "response", "input": [{"lane": lane, "from": "work"}]},
    )


def outer(provider: str = "sub_pipeline", *, lane: str = "text", output: str = "", **config: Any) -> Pipeline:
    """A pipeline with another one as its node."""
    taken = {"lane": lane, "from": "sub", **({"output": output} if output else {})}
    return pipeline(
        chat(), node("sub", provider, "chat", **config), {"id": "out", "provider": "response", "input": [taken]}
    )


async def test_happy_a_document_streams_item_by_item(mesh: RunHost) -> None:
    async with mesh.run(outer(document=inner()), open_input=True) as run:
        values = run.values()
        await run.push("go")
        assert [await anext(values), await anext(values)] == ["GO", "! "]
        await run.push("on")
        assert [await anext(values), await anext(values)] == ["ON", "! "]
        await run.end_input()
        assert (await run.result()).state == "completed"


async def test_happy_a_deployed_pipeline_is_a_provider(mesh: RunHost) -> None:
    await mesh.deploy("work", inner("structured"))
    result = await mesh.run(outer("@work", lane="answers"), input="go", session="s").result()
    result.raise_for_state()
    assert result.values[0].data == {"asked": "go"}
    assert (await mesh.run(outer("@work:1", lane="answers"), input="go").result()).state == "completed"


async def test_happy_a_file_and_settings(mesh: RunHost, tmp_path: Path) -> None:
    path = tmp_path / "inner.pipe"
    document = line({"id": "work", "provider": "sub_pipeline", "config": {"document": inner()}, "input": []})
    document["components"][1]["input"] = [{"lane": "text", "from": "chat"}]
    path.write_text(json.dumps(document))
    config: dict[str, Any] = {"file": str(path), "settings": {"work.timeout": 30}}
    result = await mesh.run(outer(**config), input="go").result()
    result.raise_for_state()
    assert result.text == "GO! "


async def test_happy_targets_have_outputs_of_their_own(mesh: RunHost) -> None:
    two = pipeline(
        chat(), node("work", "shouting", "chat"), response("chat", name="plain"), response("work", name="loud")
    )
    document = outer(document=two, targets=["loud"], output="loud")
    assert (await mesh.run(document, input="go").result()).text == "GO! "
    faults = await mesh.validate(outer(document=two, targets=["loud"], output="lout"))
    assert [(fault.reason, "Nearest: loud" in fault.hint) for fault in faults] == [("unknown-port", True)]


async def test_happy_one_of_several_sources(mesh: RunHost) -> None:
    two = pipeline(
        *(chat(), chat("other")), node("work", "shouting", "chat"), node("more", "breaking", "other"), response("work")
    )
    result = await mesh.run(outer(document=two, source="chat"), input="go").result()
    result.raise_for_state()
    assert result.text == "GO! "
    with pytest.raises(LanemeshError, match=r"cannot start: .*gone"):
        (await mesh.run(outer(document=two, source="gone"), input="go").result()).raise_for_state()


async def test_happy_without_items_the_pipeline_ends_cleanly(mesh: RunHost) -> None:
    assert (await mesh.run(outer(document=inner()), inputs=[]).result()).values == ()


async def test_error_the_failure_has_the_inner_cause(mesh: RunHost) -> None:
    result = await mesh.run(outer(document=inner("breaking")), input="go").result()
    assert result.error is not None
    assert "of config.document failed, in its component work: ValueError: no go" in result.error.message
    assert result.error.reason == "node-error"
    assert result.error.details["component"] == "sub"
    assert result.error.details["inner_component"] == "work"
    assert "asking_nodes.py" in result.error.traceback


async def test_error_a_pipeline_that_cannot_start(mesh: RunHost) -> None:
    for config, said in (
        ({"document": inner("gone")}, "cannot start"),
        ({"document": {"components": []}}, "cannot start"),
        ({"pipeline": "@gone"}, 'no deployed pipeline "gone"'),
        ({"file": "/nonexistent/x.pipe"}, "config.file cannot be read|not below the file roots|outside"),
        ({}, "Set exactly one of config.pipeline, config.file and config.document"),
    ):
        with pytest.raises(LanemeshError, match=said):
            (await mesh.run(outer(**config), input="go").result()).raise_for_state()


async def test_error_a_provider_that_names_two_pipelines(mesh: RunHost) -> None:
    (fault,) = await mesh.validate(outer("@work", pipeline="@other"))
    assert (fault.pointer, fault.reason) == ("/components/1/config/pipeline", "bad-value")


async def test_error_a_run_that_takes_too_long(mesh: RunHost) -> None:
    result = await mesh.run(outer(document=inner("hanging"), timeout=0.3), input="go").result()
    assert result.error is not None
    assert "timeout" in result.error.message
    assert await asyncio.to_thread(asking_nodes.CANCELLED.wait, 5)


async def test_error_a_pipeline_below_itself_ends_at_the_limit_of_depth(mesh: RunHost) -> None:
    looping = outer("@work")
    await mesh.deploy("work", looping)
    result = await mesh.run(looping, input="go").result()
    assert result.error is not None
    assert "8 runs are above this run already" in result.error.message


async def test_shutdown_cancelling_the_outer_run_cancels_the_inner_one(mesh: RunHost) -> None:
    run = mesh.run(outer(document=inner("hanging")), input="go")
    task = asyncio.create_task(run.result())
    assert await asyncio.to_thread(asking_nodes.HANGING.wait, 10)
    await run.cancel("enough")
    assert await asyncio.to_thread(asking_nodes.CANCELLED.wait, 5)
    assert (await task).state == "cancelled"


async def test_streaming_the_answers_of_one_turn_stay_a_group(mesh: RunHost) -> None:
    result = await mesh.run(outer(document=inner("streaming"), lane="answers"), input="go").result()
    groups = [output.group for output in result.outputs if output.group is not None]
    assert [(group.id, group.index, group.last) for group in groups] == [
        ("sub.work.out.1", 0, False),
        ("sub.work.out.1", 1, True),
    ]


async def test_streaming_the_reports_of_the_inner_run_are_those_of_the_node(mesh: RunHost) -> None:
    seen: list[Any] = []
    async with mesh.run(outer(document=inner("reporting")), input="go") as run:
        async for update in run.updates():
            match update:
                case ProgressUpdate():
                    seen.append((update.component, update.done, update.message))
                case LogUpdate(level="warning"):
                    seen.append((update.component, update.message))
                case ThoughtUpdate():
                    seen.append((update.component, update.text))
                case ToolCallUpdate():
                    seen.append((update.component, update.call.name))
                case ToolResultUpdate():
                    seen.append((update.component, update.content))
    expected = [("I look it up.",), ("search",), ('"found"',), ("work: careful with go",), (1.0, "work: begun")]
    assert sorted(map(str, seen)) == sorted(str(("sub", *one)) for one in expected)
