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
async def lanemesh(*arguments: str | Path, recording: Path | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    """A `lanemesh` command in a process of its own. Leaving terminates it, and kills it after ten seconds. `recording`: a file that
    gets the frames of its runs."""
    program = [LANEMESH] if recording is None else [sys.executable, "-m", "delivery.recorder", recording]
    process = await asyncio.create_subprocess_exec(
        *program,
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


@asynccontextmanager
async def serving(module: str, *arguments: str | Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A module of the benchmarks in a process of its own, and the address that it serves. It prints its port first, and ends with
    its stdin. Leaving ends it, and kills it after five seconds.

    Raises:
        RuntimeError: it ended before it served.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=PACKAGES,
        env={"GRPC_VERBOSITY": "ERROR", **os.environ},  # otherwise the end of each peer is logged
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = (await asyncio.wait_for(process.stdout.readline(), timeout=30)).decode().strip()
        if not port:
            raise RuntimeError(f"{module} {' '.join(map(str, arguments))} ended before it served")
        yield process, f"127.0.0.1:{port}"
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), timeout=5)
        except TimeoutError:
            process.kill()
            await process.wait()
