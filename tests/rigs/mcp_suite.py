"""The conformance suite of the MCP project, and its example server, from npm, in `build/mcp-suite`."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import subprocess
from pathlib import Path

PACKAGES = (
    "@modelcontextprotocol/conformance@0.2.0-alpha.12",
    "@modelcontextprotocol/server-everything@2026.8.31",
    "node@22.23.3",
)
"""The suite, a server, and the runtime that they need, which systems may have in an older version."""
FOLDER = Path(__file__).resolve().parents[2] / "build" / "mcp-suite"
INSTALL_SECONDS = 300.0
RUN_SECONDS = 300.0


def npm() -> str | None:
    """The npm of this machine, if it has one."""
    return shutil.which("npm")


def installed() -> Path:
    """The folder of installed packages; installs them the first time."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = FOLDER / "installed"
        wanted = "\n".join(PACKAGES)
        if not mark.exists() or mark.read_text() != wanted:
            command = [npm() or "npm", "install", "--no-audit", "--no-fund", "--prefix", str(FOLDER), *PACKAGES]
            subprocess.run(command, check=True, timeout=INSTALL_SECONDS, stdin=subprocess.DEVNULL)
            mark.write_text(wanted)
    return FOLDER / "node_modules"


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
