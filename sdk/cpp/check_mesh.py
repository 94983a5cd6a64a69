"""Tests the client and the node server in C++ against a mesh in Python: `check_mesh.py BUILD_FOLDER`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from lanemesh import Client
from lanemesh.client.updates import RunState
from lanemesh.faults import LanemeshError

LANEMESH = str(Path(sys.executable).with_name("lanemesh"))
SECONDS = 60.0
"""How long each step may take."""


def pipeline(*components: str | dict[str, Any]) -> dict[str, Any]:
    """A chat, components of these node types one after the other, and a response."""
    all_components: list[dict[str, Any]] = [{"id": "chat", "provider": "chat"}]
    for number, component in enumerate(components, 1):
        made = {"provider": component} if isinstance(component, str) else dict(component)
        edge = {"lane": "text", "from": all_components[-1]["id"], **made.pop("edge", {})}
        all_components.append({"id": f"c{number}", **made, "input": [edge]})
    edge = {"lane": "text", "from": all_components[-1]["id"]}
    all_components.append({"id": "out", "provider": "response", "config": {"lane": "text"}, "input": [edge]})
    return {"components": all_components}


@contextlib.asynccontextmanager
async def process(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that ends with the block."""
    pipe = asyncio.subprocess.PIPE
    started = await asyncio.create_subprocess_exec(
        *command,
        stdin=pipe,
        stdout=pipe,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "500"},
    )
    try:
        yield started
    finally:
        assert started.stdin is not None
        started.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            started.send_signal(2)
        async with asyncio.timeout(20):
            await started.communicate()


async def line(started: asyncio.subprocess.Process, text: str) -> str:
    """The next line with a text that a process prints."""
    assert started.stdout is not None
    seen = []
    async with asyncio.timeout(SECONDS):
        while read := (await started.stdout.readline()).decode().strip():
            seen.append(read)
            if text in read:
                return read
    raise AssertionError(f"{text!r} was not printed: {seen}")


def run_client(build: Path, address: str, document: dict[str, Any], text: str) -> subprocess.CompletedProcess[str]:
    """Runs the client in C++."""
    with tempfile.NamedTemporaryFile("w", suffix=".pipe") as file:
        file.write(json.dumps(document))
        file.flush()
        command = [str(build / "client"), address, file.name, text]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


async def check(name: str, found: object, wanted: object) -> None:
    """Compares, and prints what was compared."""
    if found != wanted:
        raise AssertionError(f"{name}: got {found!r} instead of {wanted!r}")
    print(f"    {name}: as it should be")


def started_with_tokens(build: Path) -> subprocess.CompletedProcess[str]:
    """The node server, where it would have to check tokens."""
    environment = {**os.environ, "LANEMESH_AUTH": "auth.toml"}
    command = [str(build / "node_server")]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment)


async def main(build: Path) -> None:
    """Runs every check."""
    refused = started_with_tokens(build)
    explains = "LANEMESH_AUTH is set" in refused.stderr and "use mutual TLS" in refused.stderr
    await check(
        "a node server that would have to check tokens does not start", (refused.returncode, explains), (1, True)
    )
    nodes = str(Path(__file__).parents[2] / "tests" / "matrix" / "nodes.py")
    async with process(LANEMESH, "serve", "--port", "0", "--store", "none") as serve:
        address = (await line(serve, "reached at ")).rsplit(" ", 1)[-1]
        async with (
            process(str(build / "node_server"), "--conformance", "--orchestrator", address),
            process(LANEMESH, "node", "--orchestrator", address, "--nodes", nodes),
            Client(address) as client,
        ):
            joined: Sequence[str] = [await line(serve, " joined from ") for _ in range(2)]
            assert any("cpp_pass" in one for one in joined), joined
            await checks(build, address, client)


async def checks(build: Path, address: str, client: Client) -> None:
    """The checks, in a mesh."""
    chain = pipeline("py_numbers", "cpp_pass", "py_check")
    await check("Python -> C++ -> Python, 20,000 items", await client.request(chain, "20000").text(), "20000")
    small = pipeline(
        "py_numbers", {"provider": "cpp_pass", "edge": {"buffer_limit": 2}}, "conformance_echo", "py_check"
    )
    await check("small limits, two C++ nodes on one server", await client.request(small, "500").text(), "500")
    printed = run_client(build, address, pipeline("cpp_upper"), "hello")
    await check("C++ client, C++ node", (printed.stdout.strip(), printed.returncode), ("HELLO", 0))
    printed = run_client(build, address, pipeline("py_numbers"), "2000")
    await check(
        "C++ client, 2,000 outputs of Python", len(printed.stdout.strip()), sum(len(str(n)) for n in range(2000))
    )
    printed = run_client(build, "127.0.0.1:1", pipeline("cpp_upper"), "hello")
    await check("no orchestrator", (printed.returncode, "(unreachable)" in printed.stderr), (1, True))
    printed = run_client(build, address, pipeline("conformance_fail"), "fail")
    await check("a C++ node that fails", (printed.returncode, "(node-error)" in printed.stderr), (1, True))
    try:
        await client.request(pipeline("conformance_fail"), "fail")
    except LanemeshError as error:
        await check(
            "... for a Python client", (error.fault.reason, error.fault.details["component"]), ("node-error", "c1")
        )
    else:
        raise AssertionError("the run of a node that fails completed")
    slow = pipeline({"provider": "conformance_slow", "config": {"milliseconds": 60_000}})
    async with client.run(slow, input="x") as run:
        async for update in run.nodes():
            if update.component == "c1" and update.state.value == "running":
                break
        await run.cancel("enough")
        result = await run.result()
    await check("a cancelled C++ node", result.state, RunState.CANCELLED)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
