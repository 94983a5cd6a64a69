"""Processes for tests with an event loop: the command and node servers, forked from a process that has imported their modules.

`rigs.commands` forks them, and describes what is not tested with them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, Any

from lanemesh_orchestrator.scheduling.local_launcher import MAX_LOG_LINE, LocalLauncher

from rigs.commands import Command

MODULE = "lanemesh.server"


class ForkedProcess:
    """A forked process: the part of `asyncio.subprocess.Process` that its owners use."""

    stdin: asyncio.StreamWriter | None = None
    stdout: asyncio.StreamReader | None = None
    stderr: asyncio.StreamReader | None = None

    def __init__(self, command: Command) -> None:
        """Follows a command of the running event loop."""
        self._command = command
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._loop.add_reader(command.fileno(), self._end)
        self.pid = command.pid
        self.descriptor = command.fileno()
        """Can be read when the process has ended."""

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs: minus the signal that ended it, if one did."""
        return self._command.returncode

    async def wait(self) -> int:
        """The exit code, when it has ended."""
        await asyncio.shield(self._ended)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal. Raises ProcessLookupError if it has ended."""
        if not self._ended.done() and self._command.has_ended:
            self._end()  # now: the event loop has not seen it yet
        if self._ended.done():
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Sends SIGTERM. Raises ProcessLookupError if it has ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL. Raises ProcessLookupError if it has ended."""
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        self._loop.remove_reader(self._command.fileno())
        self._command.wait()
        self._ended.set_result(None)


async def forked(
    *arguments: str,
    module: str = "",
    stdin: int = DEVNULL,
    stdout: int = 1,
    stderr: int = 2,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> ForkedProcess:
    """Starts the command `lanemesh` with these arguments, or a module. Its streams are those of asyncio where `subprocess.PIPE` is
    given."""
    streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    command = Command(*arguments, module=module, folder=folder, environment=environment, **streams)
    process = ForkedProcess(command)
    process.stdin = await _writer(command.stdin)
    process.stdout, process.stderr = [await _reader(pipe) for pipe in (command.stdout, command.stderr)]
    return process


async def forked_server(*arguments: str) -> ForkedProcess:
    """Starts a node server with these arguments of `python -m lanemesh.server`, and with a pipe as its standard input."""
    return await forked(*arguments, module=MODULE, stdin=PIPE)


async def forked_body() -> Any:
    """Starts the process of an isolated body, as a node server does."""
    return await forked(module="lanemesh.server.isolation.child", stdin=PIPE, stdout=PIPE)


async def _writer(pipe: IO[str] | None) -> asyncio.StreamWriter | None:
    if pipe is None:
        return None
    loop = asyncio.get_running_loop()
    protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
    transport, _ = await loop.connect_write_pipe(lambda: protocol, pipe)
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def _reader(pipe: IO[str] | None) -> asyncio.StreamReader | None:
    if pipe is None:
        return None
    reader = asyncio.StreamReader(limit=MAX_LOG_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


class ForkedLauncher(LocalLauncher):
    """Forks the node servers of a mesh on this Python interpreter; starts other processes as a mesh does."""

    async def _spawn(self, interpreter: str, module: str, *arguments: str) -> Any:
        if (interpreter, module) != (sys.executable, MODULE):
            return await super()._spawn(interpreter, module, *arguments)
        arguments = (*arguments, "--log-level", self._log_level, "--exit-with-parent")
        environment = {**os.environ, **self._security.environment()}
        return await forked(*arguments, module=MODULE, stdin=PIPE, stdout=PIPE, stderr=PIPE, environment=environment)
