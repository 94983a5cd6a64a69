"""The SDKs of model APIs for JavaScript, from npm, in `build/npm-sdks`, and the scripts that use them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import subprocess
from pathlib import Path
from typing import Any

from rigs.mcp_suite import npm

PACKAGES = ("openai@7.59.0", "@anthropic-ai/sdk@1.14.0", "@ag-ui/client@1.0.0", "node@22.23.3")
"""The SDKs, and their runtime, which systems may have in an older version."""
FOLDER = Path(__file__).resolve().parents[2] / "build" / "npm-sdks"
INSTALL_SECONDS = 300.0
RUN_SECONDS = 120.0


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


async def run_script(name: str, url: str) -> dict[str, Any]:
    """What a script of this folder prints, as JSON. Its arguments are the folder of the packages and a URL."""
    modules = await asyncio.to_thread(installed)
    process = await asyncio.create_subprocess_exec(
        str(modules / ".bin" / "node"),
        str(Path(__file__).with_name(name)),
        str(FOLDER),
        url,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            printed, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    found = json.loads(printed)
    assert isinstance(found, dict)
    return found
