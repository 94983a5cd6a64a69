"""The conformance suite of the MCP project, and its example server, from npm."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rigs.npm_packages import installed

RUN_SECONDS = 300.0


def everything() -> list[str]:
    """The command of a server that uses all of the protocol."""
    modules = installed()
    program = modules / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
    return [str(modules / ".bin" / "node"), str(program), "stdio"]


async def judge(url: str, results: Path, *options: str) -> tuple[int, str]:
    """Runs scenarios against a server; the exit code and what was printed."""
    modules = await asyncio.to_thread(installed)
    program = modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    process = await asyncio.create_subprocess_exec(
        str(modules / ".bin" / "node"),
        str(program),
        "server",
        f"--url={url}",
        f"--output-dir={results}",
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, printed.decode()
