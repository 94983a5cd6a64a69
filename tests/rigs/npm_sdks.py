"""The SDKs of model APIs for JavaScript, from npm, and the scripts that use them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from rigs.npm_packages import FOLDER, installed

RUN_SECONDS = 120.0


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
