"""Packages from npm for tests, in `build/npm`: the conformance suite of MCP, one of its servers, and the SDKs of model APIs."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

PACKAGES = (
    "@modelcontextprotocol/conformance@0.2.0-alpha.12",
    "@modelcontextprotocol/server-everything@2026.8.31",
    "openai@7.59.0",
    "@anthropic-ai/sdk@1.14.0",
    "@ag-ui/client@1.0.0",
    "node@22.23.3",
)
"""The packages, and their runtime, which systems may have in an older version."""
FOLDER = Path(__file__).resolve().parents[2] / "build" / "npm"
INSTALL_SECONDS = 300.0


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
