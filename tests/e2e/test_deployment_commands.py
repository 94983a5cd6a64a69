"""Deployed pipelines on the command line: how they are named, and how they are shown."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from lanemesh import Client
from lanemesh.client.deployment_info import DeploymentInfo, DeploymentState
from lanemesh.client.updates import Placement
from lanemesh.times import age
from lanemesh_orchestrator.cli.commands.deployments import deploy, placements_text
from lanemesh_orchestrator.cli.exits import CommandError
from lanemesh_orchestrator.cli.input.documents import pipeline_of
from lanemesh_orchestrator.cli.input.hosts import HostOptions
from lanemesh_orchestrator.cli.options import DEFAULT_MESH, Spread, host_options
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.record_json import deployment_json

from rigs import commands

ECHO = (
    '{"components": [{"id": "chat_1", "provider": "chat"}, '
    '{"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "chat_1"}]}]}'
)


def placement(component: str, server: str) -> Placement:
    return Placement(component=component, provider="llm", server=server, address="127.0.0.1:1", pid=7)


def test_a_deployed_pipeline_is_shown_in_words() -> None:
    deployed = DeploymentInfo(
        name="chat", version=2, state=DeploymentState.READY, created_at=datetime(2026, 11, 29, 10, 30, tzinfo=UTC)
    )
    assert placements_text(deployed) == "in the orchestrator"
    deployed = replace(deployed, placements=(placement("llm_1", "s"), placement("llm_1", "s-2"), placement("b", "s")))
    assert placements_text(deployed) == "llm_1 on s, s-2; b on s"
    flat = deployment_json(deployed)
    placements = flat.pop("placements")
    assert flat == {
        "name": "chat",
        "version": 2,
        "state": "ready",
        "created_at": "2026-11-29T10:30:00Z",
        "active_runs": 0,
    }
    assert placements[0] == {
        "component": "llm_1",
        "provider": "llm",
        "server": "s",
        "address": "127.0.0.1:1",
        "pid": 7,
    }


@pytest.mark.parametrize(
    ("seconds", "told"), [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (7_300, "2 h"), (90_000, "1 d")]
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, told: str) -> None:
    assert age(seconds) == told


@pytest.mark.parametrize("pipe", ["@", "@:1", "@chat:", "@chat:x", "@chat:1:2", "@chat:-1", "@chat:9999999999"])
async def test_a_name_that_is_written_wrong_is_refused(pipe: str) -> None:
    with pytest.raises(CommandError, match="write a deployed pipeline as @NAME"):
        await pipeline_of(pipe, HostOptions(mesh="127.0.0.1:1"))


async def test_a_deployed_pipeline_is_run_where_it_is_deployed() -> None:
    assert host_options(None, None, None, "@chat").mesh == DEFAULT_MESH
    assert host_options(None, "127.0.0.1:1", None, "@chat").mesh == "127.0.0.1:1"
    with pytest.raises(CommandError, match=r"--mesh HOST:PORT instead of --spread\. A file of this name is \./@chat"):
        await pipeline_of("@chat", host_options(Spread.SERVICE, None, None, "@chat"))
    with pytest.raises(CommandError, match="@chat is already deployed"):
        deploy("@chat", "chat", (), mesh="127.0.0.1:1", timeout=None)


async def test_the_document_of_a_deployed_pipeline_is_that_of_the_mesh() -> None:
    orchestrator = Orchestrator(embedded=True)
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        await client.deploy("chat", ECHO)
        await client.deploy("chat", ECHO.replace("out_1", "out_2"))
        options = HostOptions(mesh=orchestrator.address)
        newest = await pipeline_of("@chat", options)
        assert [component["id"] for component in newest.components()] == ["chat_1", "out_2"]
        first = await pipeline_of("@chat:1", options)
        assert first.text == ECHO
        assert (await client.run(first.document, input="x").result()).values == ("x",)
    await orchestrator.close()


async def test_a_deployed_pipeline_reads_nothing_of_the_environment_of_who_runs_it() -> None:
    asking = {"id": "p", "provider": "prompt", "config": {"template": "${LANEMESH_TEST_SECRET} {question}"}}
    document = {
        "components": [
            {"id": "chat_1", "provider": "chat"},
            {**asking, "input": [{"lane": "questions", "from": "chat_1"}]},
            {"id": "out_1", "provider": "response", "input": [{"lane": "questions", "from": "p"}]},
        ]
    }
    environment = {**os.environ, "LANEMESH_TEST_SECRET": "of-the-caller"}
    orchestrator = Orchestrator(embedded=True)
    await orchestrator.listen()

    async def command(*words: str, text: str | None = None) -> str:
        words = (*words, "--mesh", orchestrator.address)
        done = await asyncio.to_thread(commands.run, *words, text=text, environment=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        async with Client(orchestrator.address) as client:
            await client.deploy("chat", document, variables={"LANEMESH_TEST_SECRET": "of-the-deployer"})
        assert await command("run", "@chat", "--input", "hi", "--quiet") == "of-the-deployer hi"
        detached = await command("run", "@chat", "--detach", "--input", "hi")
        assert await command("watch", detached) == "of-the-deployer hi"
        assert await command("chat", "@chat", text="hi\n") == "of-the-deployer hi"
    finally:
        await orchestrator.close()
