"""Programs that tools run: without input, with bounds on time and output, and ended with all their children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanemesh.extend import CallFailed

_READ = 64 * 1024
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
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=folder,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise CallFailed("not-started", f"{arguments[0]} cannot be started: {error}") from None
    assert process.stdout is not None
    assert process.stderr is not None
    reading = [asyncio.ensure_future(_read(stream, limit)) for stream in (process.stdout, process.stderr)]
    ending = asyncio.ensure_future(process.wait())
    try:
        async with asyncio.timeout(timeout):
            await _ended_or_cut(ending, reading)
    except TimeoutError:
        name = Path(arguments[0]).name
        raise CallFailed("tool-timeout", f"{name} did not end within {timeout:g} s, and was killed") from None
    finally:
        await _end(process, ending, reading)
    (output, more_output), (errors, more_errors) = (task.result() for task in reading)
    return Finished(process.returncode or 0, output, errors, more_output or more_errors)


async def _ended_or_cut(ending: asyncio.Future[int], reading: Sequence[asyncio.Future[tuple[bytes, bool]]]) -> None:
    """Waits until the program has ended, or has written more than its limit."""
    waiting: set[asyncio.Future[Any]] = {ending, *reading}
    while not ending.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if any(task.result()[1] for task in done if task is not ending):
            return


async def _read(stream: asyncio.StreamReader, limit: int) -> tuple[bytes, bool]:
    pieces = bytearray()
    try:
        while piece := await stream.read(_READ):
            pieces += piece
            if len(pieces) > limit:
                return bytes(pieces[:limit]), True
    except asyncio.CancelledError:
        pass  # the rest comes from a process that has outlived the program
    return bytes(pieces), False


async def _end(
    process: asyncio.subprocess.Process,
    ending: asyncio.Future[int],
    reading: Sequence[asyncio.Future[tuple[bytes, bool]]],
) -> None:
    """Kills what is left of the program and its children, and waits for them within a bound."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        await asyncio.wait([ending, *reading], timeout=_END_SECONDS)
    finally:
        for task in (ending, *reading):
            task.cancel()
        await asyncio.wait([ending, *reading], timeout=_END_SECONDS)
        process._transport.close()  # type: ignore[attr-defined]  # its pipes, which a process outside its group may hold open
