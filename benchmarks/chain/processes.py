"""Processes of `lanemesh` commands for benchmarks."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

LANEMESH = Path(sys.executable).with_name("lanemesh")
PACKAGES = Path(__file__).parents[1]
"""The folder of the packages of the benchmarks; node servers import node types from it."""


def free_port() -> int:
    """A port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def lanemesh(*arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A `lanemesh` command in a process of its own. Leaving terminates it, and kills it after ten seconds."""
    process = await asyncio.create_subprocess_exec(
        LANEMESH,
        *arguments,
        env=os.environ | {"PYTHONPATH": str(PACKAGES)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), timeout=10)
        except TimeoutError:
            process.kill()
            await process.wait()
