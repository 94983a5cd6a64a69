"""Pipelines with several sources: each run takes one, over every door."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from lanemesh import Client, Mesh, PipelineInvalid
from lanemesh.client.run_host import RunHost
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs import commands
from rigs.gateways import gateway

pytestmark = pytest.mark.conformance("PIPE-07")
in_loop = pytest.mark.asyncio(loop_scope="module")

INGEST_AND_ASK: dict[str, Any] = {
    "components": [
        {"id": "hook", "provider": "webhook"},
        {"id": "loud", "provider": "upper_case", "input": [{"lane": "text", "from": "hook"}]},
        {"id": "kept", "provider": "response", "input": [{"lane": "text", "from": "loud"}]},
        {"id": "chat", "provider": "chat"},
        {
            "id": "model",
            "provider": "llm_scripted",
            "config": {"script": [{"text": "I was asked."}]},
            "input": [{"lane": "questions", "from": "chat"}],
        },
        {"id": "answer", "provider": "response", "input": [{"lane": "answers", "from": "model"}]},
    ]
}


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["embedded", "remote"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[RunHost]:
    """A mesh in this process, and a client of an orchestrator."""
    if request.param == "embedded":
        async with Mesh() as embedded:
            await embedded.deploy("both", INGEST_AND_ASK)
            yield embedded
        return
    orchestrator = Orchestrator(embedded=True)
    await orchestrator.listen()
    try:
        async with Client(orchestrator.address) as client:
            await client.deploy("both", INGEST_AND_ASK)
            yield client
    finally:
        await orchestrator.close()


@in_loop
@pytest.mark.parametrize("pipeline", [INGEST_AND_ASK, "@both"], ids=["document", "deployed"])
async def test_a_run_takes_the_part_of_its_source_and_leaves_out_the_rest(mesh: RunHost, pipeline: Any) -> None:
    run = mesh.run(pipeline, input="hello", source="hook")
    result = await run.result()
    assert result.values == ("HELLO",)
    record = await mesh.record(run.id)
    assert {where.component for where in record.placements} == {"hook", "loud", "kept"}
    asked = await mesh.request(pipeline, "hello", source="chat").text()
    assert asked == "I was asked."


@in_loop
@pytest.mark.parametrize("pipeline", [INGEST_AND_ASK, "@both"], ids=["document", "deployed"])
async def test_a_run_that_names_none_or_another_component_is_refused(mesh: RunHost, pipeline: Any) -> None:
    with pytest.raises(PipelineInvalid) as caught:
        await mesh.run(pipeline, input="hello").result()
    assert [fault.reason for fault in caught.value.faults] == ["several-sources"]
    assert "hook, chat" in str(caught.value)
    with pytest.raises(PipelineInvalid) as caught:
        await mesh.start(pipeline, input="hello", source="loud")
    assert [fault.reason for fault in caught.value.faults] == ["not-a-source"]


@in_loop
async def test_it_is_valid_without_a_name_and_a_turn_of_a_session_takes_the_chat(mesh: RunHost) -> None:
    assert not await mesh.validate(INGEST_AND_ASK)
    assert not await mesh.validate(INGEST_AND_ASK, source="chat")
    session = mesh.session("@both")
    assert await session.request("one").text() == "I was asked."
    assert [turn.question.text for turn in await session.turns()] == ["one"]


@in_loop
async def test_doors_of_the_gateway_choose_the_source_that_fits_them(mesh: RunHost) -> None:
    async with gateway(mesh) as client:
        hooked = await client.post("/hooks/both", content="hello", headers={"content-type": "text/plain"})
        assert hooked.text == "HELLO"
        messages = [{"role": "user", "content": "hello"}]
        answered = await client.post("/v1/chat/completions", json={"model": "both", "messages": messages})
        assert answered.json()["choices"][0]["message"]["content"] == "I was asked."
        started = await client.post("/v1/runs", json={"pipeline": "@both", "input": "x", "source": "hook"})
        assert started.status_code == 201
        refused = await client.post("/v1/runs", json={"pipeline": "@both", "input": "x"})
        assert refused.is_client_error
        assert "several-sources" in refused.text


def test_the_command_line_names_the_source(tmp_path: Path) -> None:
    file = tmp_path / "both.pipe"
    file.write_text(json.dumps(INGEST_AND_ASK))
    hooked = commands.run("run", str(file), "--source", "hook", "--input", "hello")
    assert hooked.stdout.strip() == "HELLO"
    unnamed = commands.run("run", str(file), "--input", "hello")
    assert unnamed.returncode == 2
    assert "several sources, and the run names none: hook, chat" in unnamed.stderr
    checked = commands.run("validate", str(file))
    assert checked.returncode == 0
    assert "--source hook: runs hook, loud, kept" in checked.stdout
    part = commands.run("validate", str(file), "--source", "chat")
    assert "model" in part.stdout
    assert "loud" not in part.stdout
    measured = commands.run("bench", str(file), "--source", "hook", "--requests", "1", "--warmup", "0")
    assert measured.returncode == 0, measured.stderr


def test_the_command_line_takes_the_source_of_the_document_if_that_feeds_itself(tmp_path: Path) -> None:
    file = tmp_path / "timed.pipe"
    clock = {"id": "clock", "provider": "timer", "config": {"every": 1, "count": 1}}
    tick = {"id": "tick", "provider": "response", "input": [{"lane": "text", "from": "clock"}]}
    components = [*INGEST_AND_ASK["components"], clock, tick]
    file.write_text(json.dumps({"source": "clock", "components": components}))
    ran = commands.run("run", str(file))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.strip()
    given = commands.run("run", str(file), "--input", "hello")
    assert given.returncode == 2
    assert "its source feeds itself" in given.stderr
    assert "--source: hook, chat" in given.stderr
