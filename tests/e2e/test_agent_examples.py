"""The examples of agents whose helpers need more than a pipeline: a server in TypeScript, and a person."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from lanemesh import ApprovalState, ApprovalUpdate, Mesh, ToolProgressUpdate, ToolResultUpdate

from pages import ROOT

EXAMPLES = ROOT / "examples"
BUILD = ROOT / "build" / "typescript_tools"
"""Where npm installs the packages of the server, once."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "spread"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    """A mesh in this process, or spread over processes."""
    async with Mesh("service" if request.param == "spread" else None, folder=EXAMPLES) as mesh:
        yield mesh


class ToolServer:
    """The server in TypeScript."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self.process = process
        self.lines = process.stdout
        self.address = ""

    async def says(self, text: str) -> str:
        """The next line that contains a text."""
        async with asyncio.timeout(60):
            while line := (await self.lines.readline()).decode():
                if text in line:
                    return line.strip()
        raise AssertionError(f"the server ended without {text!r}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[ToolServer]:
    """The server of the example, on a free port."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = _installed(await _npm_install(npm))
    program = folder / "examples" / "typescript_tools"
    process = await asyncio.create_subprocess_exec(
        *("node", "--import", "tsx", "server.ts", "0"), cwd=program, stdin=PIPE, stdout=PIPE
    )
    found = ToolServer(process)
    found.address = (await found.says("tools at ")).removeprefix("tools at ")
    yield found
    assert process.stdin is not None
    process.stdin.close()
    process.kill()
    await process.wait()


async def _npm_install(npm: str) -> Path:
    """The folder of the packages."""
    BUILD.mkdir(parents=True, exist_ok=True)
    package = (EXAMPLES / "typescript_tools" / "package.json").read_text()
    installed = BUILD / "package.json"
    if not (BUILD / "node_modules" / "tsx").exists() or installed.read_text() != package:
        installed.write_text(package)
        process = await asyncio.create_subprocess_exec(npm, "install", "--no-audit", "--no-fund", cwd=BUILD)
        assert await process.wait() == 0
    return BUILD


def _installed(packages: Path) -> Path:
    """A folder with the example, the protos and the packages."""
    root = packages / "clone"
    shutil.rmtree(root, ignore_errors=True)
    (root / "examples").mkdir(parents=True)
    shutil.copytree(EXAMPLES / "typescript_tools", root / "examples" / "typescript_tools", dirs_exist_ok=True)
    (root / "protos").symlink_to(ROOT / "protos")
    (root / "examples" / "typescript_tools" / "node_modules").symlink_to(packages / "node_modules")
    return root


def pipeline(name: str) -> str:
    return (EXAMPLES / f"{name}.pipe").read_text(encoding="utf-8")


@pytest.mark.conformance("CTRL-07")
async def test_an_agent_uses_tools_in_typescript(mesh: Mesh, server: ToolServer) -> None:
    results = []
    settings = {"tools_1.address": server.address}
    async with mesh.run(pipeline("typescript_tools"), input="How far?", settings=settings) as run:
        async for update in run.tools():
            if isinstance(update, ToolResultUpdate):
                results.append(update.content)
        assert (await run.result()).state == "completed"
    assert results == ['{"kilometres":2738}']


@pytest.mark.conformance("CTRL-10")
async def test_cancel_stops_a_tool_in_typescript(mesh: Mesh, server: ToolServer) -> None:
    call = {"tool_calls": [{"name": "countdown", "arguments": {"steps": 100_000}}]}
    settings = {"tools_1.address": server.address, "llm_1.script": [call]}
    async with mesh.run(pipeline("typescript_tools"), input="Count", settings=settings) as run:
        async for update in run.tools():
            if isinstance(update, ToolProgressUpdate):
                break
        await run.cancel()
        assert (await run.result()).state == "cancelled"
    await server.says("cancelled")


@pytest.mark.parametrize("approved", [True, False])
async def test_a_call_waits_for_a_person(mesh: Mesh, approved: bool) -> None:
    results = []
    async with mesh.run(pipeline("approval"), input="6 * 7?") as run:
        async for update in run.updates():
            if isinstance(update, ApprovalUpdate) and update.state is ApprovalState.REQUESTED:
                await (run.approve(update.call_id) if approved else run.refuse(update.call_id, "not today"))
            elif isinstance(update, ToolResultUpdate):
                results.append((update.is_error, "42" in update.content, "not today" in update.content))
        assert (await run.result()).state == "completed"
    assert results == [(False, True, False) if approved else (True, False, True)]
