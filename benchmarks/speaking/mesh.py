"""A mesh of one node server for each language that is built here, and the clients of it, as processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
GO = ROOT / "build" / "go" / "bin"
CPP = ROOT / "build" / "cpp"
TYPESCRIPT = ROOT / "sdk" / "typescript" / "dist" / "index.js"
LANEMESH = str(Path(sys.executable).with_name("lanemesh"))

START_SECONDS = 60.0
"""How long a process may take to start."""
CLIENT_SECONDS = 300.0
"""How long a client may take."""

PASSING = {
    "Python": "bench_pass_python",
    "Go": "go_pass",
    "C++": "cpp_pass",
    "TypeScript": "bench_pass_typescript",
}
"""By language: the node type that passes texts on."""


@dataclass(frozen=True)
class Measured:
    """What a client measured."""

    milliseconds: list[float]
    """The time of each request, until its last output."""
    outputs: int
    """Outputs of all requests."""


def clients() -> dict[str, list[str]]:
    """By language: the command of its client."""
    found = {"Python": [sys.executable, str(HERE / "client.py")]}
    if (GO / "bench").exists():
        found["Go"] = [str(GO / "bench")]
    if (CPP / "bench").exists():
        found["C++"] = [str(CPP / "bench")]
    if TYPESCRIPT.exists() and shutil.which("node"):
        found["TypeScript"] = ["node", str(HERE / "client.mjs")]
    return found


def servers(address: str) -> dict[str, list[str]]:
    """By language: the command of its node server. The source and the counter of a chain are both in that of Python."""
    found = {
        "Python": [LANEMESH, "node", "--orchestrator", address, "--nodes", str(HERE / "nodes.py"), "--name", "python"]
    }
    if (GO / "node").exists():
        found["Go"] = [str(GO / "node"), "-until-stdin-closes", "-orchestrator", address]
    if (CPP / "node_server").exists():
        found["C++"] = [str(CPP / "node_server"), "--orchestrator", address]
    if TYPESCRIPT.exists() and shutil.which("node"):
        found["TypeScript"] = ["node", str(HERE / "server.mjs"), address]
    return found


@contextlib.asynccontextmanager
async def mesh() -> AsyncIterator[tuple[str, dict[str, psutil.Process]]]:
    """Starts an orchestrator and the node servers. Returns its address, and the servers by language."""
    async with contextlib.AsyncExitStack() as stack:
        serve = await stack.enter_async_context(_process([LANEMESH, "serve", "--port", "0", "--store", "none"]))
        line = await _line(serve, "reached at ")
        address = line.rsplit(" ", 1)[-1]
        started: dict[str, psutil.Process] = {}
        for language, command in servers(address).items():
            process = await stack.enter_async_context(_process(command))
            started[language] = psutil.Process(process.pid)
        expected = {PASSING[language] for language in started} | {"bench_texts", "bench_count"}
        try:
            while expected:
                joined = await _line(serve, " joined from ")
                expected -= set(joined.rpartition(" with ")[2].split(", "))
        except TimeoutError:
            raise RuntimeError(f"no server with {', '.join(sorted(expected))} has joined: start it by hand") from None
        yield address, started


async def run_client(command: Sequence[str], address: str, pipeline: Path, text: str, requests: int) -> Measured:
    """Runs a client to its end."""
    process = await asyncio.create_subprocess_exec(
        *command, address, str(pipeline), text, str(requests), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(CLIENT_SECONDS):
        output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command[-1]} ended with status {process.returncode}")
    return Measured(**json.loads(output))


@contextlib.asynccontextmanager
async def _process(command: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that ends with the block: its standard input closes, and it is interrupted."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "500"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(2)
            try:
                async with asyncio.timeout(15):
                    await process.communicate()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _line(process: asyncio.subprocess.Process, text: str) -> str:
    """The next line with a text that a process prints."""
    assert process.stdout is not None
    async with asyncio.timeout(START_SECONDS):
        while line := (await process.stdout.readline()).decode().strip():
            if text in line:
                return line
    raise RuntimeError(f"a process ended before it printed {text!r}")
