"""A mesh that lasts, as its operators have it: `lanemesh serve`, `lanemesh node`, `lanemesh nodes --servers`, and signals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from lanemesh import Client
from lanemesh.client.node_servers import NodeServerInfo
from lanemesh.client.run_reader import wire_updates
from lanemesh.faults import LanemeshError

from rigs import commands
from rigs.commands import Command
from rigs.ports import free_port

UPPER = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "up_1", "provider": "upper_case", "input": [{"lane": "text", "from": "chat_1"}]},
        {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "up_1"}]},
    ]
}
SPLIT = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "split_1", "provider": "split_text", "input": [{"lane": "text", "from": "chat_1"}]},
        {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "split_1"}]},
    ]
}
"""Of a node type that cannot be placed again, which reads all of its input in one go."""


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[Command]:
    """A command that runs until it is killed, at the latest at the end of the block."""
    started = Command(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.kill()
        await asyncio.to_thread(started.wait)


@pytest.fixture
async def mesh() -> AsyncIterator[Client]:
    """A client of `lanemesh serve`, which is told of a server that is not there."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    async with process("serve", "--port", f"{port}", "--server", "127.0.0.1:1"), Client(address) as client:
        yield client


async def servers(client: Client, holds: Callable[[dict[str, NodeServerInfo]], Any]) -> None:
    """Waits for what the mesh lists."""
    async with asyncio.timeout(40):
        while True:
            with contextlib.suppress(LanemeshError):
                if holds({server.name: server for server in await client.node_servers()}):
                    return
            await asyncio.sleep(0.05)


def listed(client: Client, *arguments: str) -> str:
    """What `lanemesh nodes --servers` prints."""
    done = commands.run("nodes", "--servers", "--mesh", client.address, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.conformance("RUN-11")
async def test_a_node_server_that_is_told_to_end_ends_its_runs_first(mesh: Client) -> None:
    node = ("node", "text", "--orchestrator", mesh.address, "--max-instances", "2", "--label", "zone=eu-1")
    async with process(*node) as old:
        await servers(mesh, lambda found: "text" in found)
        run = await mesh.start(UPPER, input="a", open_input=True)
        outputs = run.values()
        assert await anext(outputs) == "A"
        told = {server["name"]: server for server in json.loads(listed(mesh, "--json"))}
        assert (told["text"]["active_instances"], told["text"]["max_instances"]) == (1, 2)
        assert told["text"]["labels"] == {"zone": "eu-1"}
        assert told["text"]["pid"] == old.pid
        assert (told["127.0.0.1:1"]["health"], told["127.0.0.1:1"]["static"]) == ("unreachable", True)
        table = listed(mesh)
        assert [line.split()[:5] for line in table.splitlines() if line.startswith("text ")] == [
            ["text", "serving", "1", "of", "2"]
        ]

        old.terminate()
        await servers(mesh, lambda found: found["text"].health == "draining")
        async with process("node", "text", "--orchestrator", mesh.address):
            await servers(mesh, lambda found: "text-2" in found)
            other = await mesh.run(UPPER, input="b").result()
            assert (other.state, other.values) == ("completed", ("B",))
            assert old.poll() is None
            await run.push("c")
            await run.end_input()
            assert [value async for value in outputs] == ["C"]
            assert await asyncio.to_thread(old.wait, 10) == 0
            await servers(mesh, lambda found: "text" not in found)


@pytest.mark.conformance("RUN-08")
async def test_runs_of_a_killed_node_server_fail_within_five_seconds_and_name_it(mesh: Client) -> None:
    async with (
        process("node", "text", "--orchestrator", mesh.address) as first,
        process("node", "text", "--orchestrator", mesh.address),
    ):
        await servers(mesh, lambda found: {"text", "text-2"} <= found.keys())
        runs = [await mesh.start(SPLIT, input="a\n", open_input=True) for _ in range(4)]
        pids: list[int] = []
        for run in runs:
            async for update in wire_updates(mesh.attach(run.id)):
                pids += [place.pid for place in update.job.placements if place.component == "split_1"]
                if update.WhichOneof("kind") == "output":
                    break
        assert sorted(pids.count(pid) for pid in set(pids)) == [2, 2]
        began = time.monotonic()
        first.kill()
        for run, pid in zip(runs, pids, strict=True):
            if pid == first.pid:
                result = await run.result()
                assert result.error is not None
                assert (result.state, result.error.reason) == ("failed", "server-lost")
                assert result.error.message.startswith('the node server "text')
                assert result.error.message.endswith("; it ran split_1")
        assert time.monotonic() - began < 5
        for run, pid in zip(runs, pids, strict=True):
            if pid != first.pid:
                await run.push("b")
                await run.end_input()
                assert (await run.result()).values == ("a", "b")


@pytest.mark.waits
async def test_a_frozen_node_server_is_listed_so_and_then_gone(mesh: Client) -> None:
    async with process("node", "text", "--orchestrator", mesh.address) as frozen:
        await servers(mesh, lambda found: "text" in found)
        began = time.monotonic()
        os.kill(frozen.pid, signal.SIGSTOP)
        await servers(mesh, lambda found: found["text"].health == "unreachable")
        await servers(mesh, lambda found: "text" not in found)
        assert time.monotonic() - began < 25
        os.kill(frozen.pid, signal.SIGCONT)
        await servers(mesh, lambda found: "text" in found)
        assert (await mesh.run(UPPER, input="a").result()).values == ("A",)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nodes", "--servers"], "name it with --mesh"),
        (["nodes", "chat", "--servers", "--mesh", "127.0.0.1:1"], "remove chat"),
        (["node", "text", "--label", "gpu"], "write a label as KEY=VALUE"),
        (["node", "text", "--label", "a=1", "--label", "a=2"], "given more than once"),
        (["node", "text", "--max-instances", "-1"], "--max-instances"),
        (["serve", "--server", "dns:///name"], "write an address as host:port"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: list[str], told: str) -> None:
    done = commands.run(*arguments)
    assert done.returncode == 2
    assert told in done.stderr
