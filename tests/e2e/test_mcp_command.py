"""`lanemesh mcp` with the official client of the protocol, over both transports and in both eras."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from rigs.commands import run as run_command
from rigs.mcp_mesh import ADDITIONS, ECHO, SCRIPT, content, mcp_over_http, mesh
from rigs.runs import until

PIPELINES = {"echo": ECHO, "fails": content({"text": "before"}, {"fail": "it is broken"})}


@asynccontextmanager
async def server(transport: str, address: str) -> AsyncIterator[Any]:
    """What a client connects to."""
    if transport == "stdio":
        yield StdioServerParameters(command=str(SCRIPT), args=["mcp", "--mesh", address, "--with", str(ADDITIONS)])
        return
    async with mcp_over_http(address, f"--with={ADDITIONS}") as url:
        yield url


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_the_official_client_lists_and_calls(transport: str) -> None:
    async with mesh(**PIPELINES) as address, server(transport, address) as found:
        for mode, version in (("auto", "2026-07-28"), ("legacy", "2025-11-25")):
            reports: list[str | None] = []

            async def on_progress(
                progress: float, total: float | None, message: str | None, reports: list[str | None] = reports
            ) -> None:
                reports.append(message)

            async with Client(found, mode=mode) as client:
                assert client.protocol_version == version
                assert {"echo", "fails"} <= {tool.name for tool in (await client.list_tools()).tools}
                result = await client.call_tool("echo", {"text": "hello"}, progress_callback=on_progress)
                failed = await client.call_tool("fails", {})
                resource = await client.read_resource("test://static-text")
                await until(lambda reports=reports: bool(reports))  # type: ignore[misc]
            assert [getattr(block, "text", "") for block in result.content] == ["hello"]
            assert reports == ["hello"]
            assert failed.is_error
            assert getattr(resource.contents[0], "text", "").startswith("This is the content")


async def test_http_clients_need_the_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a secret token\n")
    async with mesh(echo=ECHO) as address, mcp_over_http(address, f"--token-file={tmp_path / 'token'}") as url:
        async with httpx2.AsyncClient() as http:
            for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": "a secret token"}):
                answer = await http.post(url, json={}, headers=headers)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        async with (
            httpx2.AsyncClient(headers={"Authorization": "Bearer a secret token"}) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            assert not (await client.call_tool("echo", {"text": "hello"})).is_error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--token-file=nothing"], "Give --http PORT too"),
        (["--http=0", "--token-file=nothing"], "--token-file nothing cannot be read"),
        (["--http=0", "--host=0.0.0.0"], "Give --token-file, or --insecure"),
        (["--http=0", "--with=nothing.py"], "--with nothing.py cannot be used"),
        (["--mesh=nothing"], "host:port"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: list[str], words: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "LANEMESH_MCP_TOKEN"}
    done = run_command("mcp", "--mesh=127.0.0.1:1", *options, folder=tmp_path, environment=environment)
    assert done.returncode != 0
    assert words in done.stderr


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    (tmp_path / "mcp.py").write_text("raise ImportError('No module named mcp')")
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from lanemesh_orchestrator.cli import app; sys.exit(app())"
    python = SCRIPT.with_name("python")
    done = subprocess.run(
        [str(python), "-P", "-c", code, str(tmp_path), "mcp", "--mesh=127.0.0.1:1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "pip install 'lanemesh[mcp]'" in done.stderr
