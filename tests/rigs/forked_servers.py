"""Node servers in processes of their own that are forked from one which has imported their modules: see `rigs.commands`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import IO, Any

from lanemesh_orchestrator.scheduling.local_launcher import MAX_LOG_LINE, LocalLauncher

from rigs.commands import Command

MODULE = "lanemesh.server"


class ForkedProcess:
    """A process that runs a module: the part of `asyncio.subprocess.Process` that its owners use."""

    stdout: asyncio.StreamReader | None = None
    stderr: asyncio.StreamReader | None = None

    def __init__(self, command: Command) -> None:
        """Follows a command of the running event loop."""
        self._command = command
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._loop.add_reader(command.fileno(), self._end)
        self.pid = command.pid
        self.stdin = command.stdin

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
        if self.returncode is not None:
            raise ProcessLookupError
        self._command.send_signal(number)

    def kill(self) -> None:
        """Sends SIGKILL. Raises ProcessLookupError if it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        self._command.kill()

    def _end(self) -> None:
        self._loop.remove_reader(self._command.fileno())
        self._command.wait()
        self._ended.set_result(None)


async def forked_server(*arguments: str, piped: bool = False) -> ForkedProcess:
    """A node server with these arguments of `python -m lanemesh.server`. Its outputs are streams if `piped`, else ours."""
    output = subprocess.PIPE if piped else None
    streams = {"stdout": 1 if output is None else output, "stderr": 2 if output is None else output}
    process = ForkedProcess(Command(*arguments, module=MODULE, stdin=subprocess.PIPE, **streams))
    if piped:
        process.stdout = await _reader(process._command.stdout)
        process.stderr = await _reader(process._command.stderr)
    return process


async def _reader(pipe: IO[str] | None) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=MAX_LOG_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


class ForkedLauncher(LocalLauncher):
    """Forks the node servers of a mesh on this Python interpreter; starts other processes as a mesh does."""

    async def _spawn(self, interpreter: str, module: str, *arguments: str) -> Any:
        if (interpreter, module) != (sys.executable, MODULE):
            return await super()._spawn(interpreter, module, *arguments)
        return await forked_server(*arguments, "--log-level", self._log_level, "--exit-with-parent", piped=True)
