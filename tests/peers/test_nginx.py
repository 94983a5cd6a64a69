"""nginx with the configuration of docs/proxies.md before an orchestrator: long streams, silent ones, large ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from lanemesh import Client
from lanemesh.faults import LanemeshError
from lanemesh_orchestrator.orchestrator import Orchestrator

from peers.programs import configuration, nginx_of
from rigs.ports import free_port
from rigs.runs import NODES, line, node

TAG = line(node("a", "tag", "chat", mark="+"))
SILENCE = 3.0
"""Seconds without a frame; more than the limits that stand for the defaults of nginx here."""


@asynccontextmanager
async def behind_nginx(folder: Path, *changes: tuple[str, str]) -> AsyncIterator[Client]:
    """A client of an orchestrator behind nginx, in whose configuration texts are replaced."""
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    try:
        front = f"127.0.0.1:{free_port()}"
        text = configuration("nginx.conf", {8081: front, 7070: orchestrator.address})
        for right, other in changes:
            assert right in text
            text = text.replace(right, other)
        async with nginx_of(folder, text, front), Client(front) as client:
            yield client
    finally:
        await orchestrator.close()


async def test_a_run_is_silent_and_goes_on(tmp_path: Path) -> None:
    async with behind_nginx(tmp_path) as client, client.run(TAG, open_input=True) as run:
        outputs = run.outputs()
        await run.push("before")
        assert (await anext(outputs)).value == "+before"
        await asyncio.sleep(SILENCE)
        await run.push("after")
        await run.end_input()
        assert [output.value async for output in outputs] == ["+after"]
        assert str((await run.result()).state) == "completed"


async def test_a_stream_of_many_bytes_in_both_directions(tmp_path: Path) -> None:
    text = "x" * 100_000
    async with behind_nginx(tmp_path) as client:
        result = await client.run(TAG, inputs=[text] * 100).result()
        assert result.values == (f"+{text}",) * 100


async def test_a_detached_run_is_watched_to_its_end(tmp_path: Path) -> None:
    async with behind_nginx(tmp_path) as client:
        run = await client.start(TAG, open_input=True)
        await run.push("one")
        await run.end_input()
        assert (await run.result()).values == ("+one",)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([("grpc_read_timeout 1d", "grpc_read_timeout 1s")], id="silence of the server"),
        pytest.param([("client_body_timeout 1d", "client_body_timeout 1s")], id="silence of the client"),
    ],
)
async def test_a_limit_on_silence_cuts_a_run(tmp_path: Path, changes: list[tuple[str, str]]) -> None:
    """What the page says of these settings: their default is 60 s, for which 1 s stands here."""
    async with behind_nginx(tmp_path, *changes) as client, client.run(TAG, open_input=True) as run:
        with pytest.raises(LanemeshError):
            async with asyncio.timeout(20):
                await run.result()


async def test_a_limit_on_the_bytes_of_a_stream_cuts_a_run(tmp_path: Path) -> None:
    async with behind_nginx(tmp_path, ("client_max_body_size 0", "client_max_body_size 1m")) as client:
        with pytest.raises(LanemeshError):
            async with asyncio.timeout(20):
                await client.run(TAG, inputs=["x" * 100_000] * 100).result()
