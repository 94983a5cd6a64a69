"""Programs that tools run: without input, with bounds on time and output, and ended with all their children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lanemesh.extend import CallFailed

_END_SECONDS = 1.0
"""How long to wait for a killed process and for the rest of its output."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended."""

    code: int
    """Its exit code; negative: the signal that ended it."""
    output: bytes
    """What it wrote to standard output."""
    errors: bytes
    """What it wrote to standard error."""
    cut: bool
    """It wrote more than the limit, and was ended there."""


async def run_program(
    arguments: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout: float,
    limit: int,
) -> Finished:
    """Runs a program to its end. Leaving early kills it and the processes that it has started.

    Args:
        arguments: the program and its arguments.
        folder: its working directory.
        environment: its environment variables.
        timeout: most seconds.
        limit: most bytes of standard output, and of standard error; at more it is ended.

    Raises:
        CallFailed: "tool-timeout", or "not-started".
    """
    loop = asyncio.get_running_loop()
    try:
        transport, program = await loop.subprocess_exec(
            lambda: _Program(limit),
            *arguments,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise CallFailed("not-started", f"{arguments[0]} cannot be started: {error}") from None
    try:
        async with asyncio.timeout(timeout):
            await program.ended.wait()
    except TimeoutError:
        name = Path(arguments[0]).name
        raise CallFailed("tool-timeout", f"{name} did not end within {timeout:g} s, and was killed") from None
    finally:
        await _end(transport, program)
    output, errors = (bytes(program.written[stream][:limit]) for stream in (1, 2))
    return Finished(transport.get_returncode() or 0, output, errors, program.cut)


class _Program(asyncio.SubprocessProtocol):
    """A program that runs, and what it has written.

    The end of the process is its own event here: `asyncio.subprocess.Process.wait` also waits for the end of its output, which a
    process that the program has started may hold open.
    """

    def __init__(self, limit: int) -> None:
        self.written = {1: bytearray(), 2: bytearray()}
        """Its standard output and standard error."""
        self.cut = False
        """It has written more than the limit."""
        self.ended = asyncio.Event()
        """It has ended, or has written more than the limit."""
        self.closed = asyncio.Event()
        """It has ended, and so has its output."""
        self._limit = limit

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Adds what it has written."""
        if self.cut:
            return
        self.written[fd] += data
        if len(self.written[fd]) > self._limit:
            self.cut = True
            self.ended.set()

    def process_exited(self) -> None:
        """It has ended."""
        self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Its output has ended as well."""
        self.closed.set()


async def _end(transport: asyncio.SubprocessTransport, program: _Program) -> None:
    """Kills what is left of the program and its children, and waits for the rest of the output within a bound."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(transport.get_pid(), signal.SIGKILL)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await program.closed.wait()
    finally:
        transport.close()  # its pipes, which a process outside its group may hold open
