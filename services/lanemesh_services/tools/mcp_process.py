"""The process of an MCP server that talks over standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import anyio
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from lanemesh_services.tools.mcp_errors import not_started

log = logging.getLogger("lanemesh.mcp")

MAX_LINE = 16 * 1024 * 1024
"""Longest message of a server, in bytes."""
MAX_TAIL = 2_000
"""How much of the end of its standard error is kept, in bytes."""
END_SECONDS = 2.0
"""How long a server may take to end after its input was closed, and again after SIGTERM."""
_CHUNK = 64 * 1024


class ServerProcess:
    """Starts a server and connects to it; leaving ends it and its children. It is a transport of the MCP SDK.

    A line of standard output that is not JSON-RPC is ignored. Standard error is read all the time, and only its end is kept.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
        """`environment` is added to the few variables that a server inherits, such as PATH. `folder` is its working directory;
        empty: that of this process."""
        self._command = tuple(command)
        self._environment = get_default_environment() | dict(environment)
        self._folder = folder or None
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._tail = bytearray()
        self.ended = asyncio.Event()
        """The server has ended, or broke the protocol."""
        self.why = ""
        """The reason, if it broke the protocol."""

    async def __aenter__(self) -> tuple[Any, Any]:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LINE,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise not_started(self._command[0], str(error)) from None
        self._to_session, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_server, self._from_session = anyio.create_memory_object_stream[SessionMessage](0)
        self._tasks = [
            asyncio.create_task(work, name=f"MCP server {self._command[0]}: {name}")
            for name, work in (("output", self._read()), ("input", self._write()), ("errors", self._read_errors()))
        ]
        return from_server, to_server

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._end()
        finally:
            self._kill(signal.SIGKILL)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def describe_end(self) -> str:
        """How the server ended."""
        code = self._process.returncode if self._process is not None else None
        if self.why:
            return self.why
        if code is None:
            return "it closed its standard output"
        return f"it was ended by signal {-code}" if code < 0 else f"it exited with code {code}"

    def last_words(self) -> str:
        """The end of its standard error, for an error message; empty if there is none."""
        text = self._tail.decode("utf-8", "replace").strip()
        return f". The end of its standard error:\n{text}" if text else ""

    async def _read(self) -> None:
        """Passes on each message, until the server closes its output."""
        output = self._process.stdout if self._process is not None else None
        assert output is not None
        async with self._to_session:
            try:
                while line := await output.readline():
                    try:
                        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValueError:
                        log.debug("%s wrote a line that is not JSON-RPC: %.200r", self._command[0], line)
                        continue
                    await self._to_session.send(SessionMessage(message))
            except ValueError:
                self.why = f"it sent a message of more than {MAX_LINE:,} bytes"
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                pass  # this side ends
            if not self.why:
                await self._reap()  # calls fail when the stream closes, and name the exit code
            self.ended.set()

    async def _reap(self) -> None:
        """Waits shortly for the exit code of a server that has closed its output."""
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await self._process.wait()

    async def _write(self) -> None:
        stdin = self._process.stdin if self._process is not None else None
        assert stdin is not None
        async with self._from_session:
            with contextlib.suppress(OSError):
                async for given in self._from_session:
                    text = given.message.model_dump_json(by_alias=True, exclude_unset=True)
                    stdin.write(text.encode() + b"\n")
                    await stdin.drain()

    async def _read_errors(self) -> None:
        errors = self._process.stderr if self._process is not None else None
        assert errors is not None
        while chunk := await errors.read(_CHUNK):
            self._tail += chunk
            del self._tail[:-MAX_TAIL]

    async def _end(self) -> None:
        """Closes the server's input; ends it by signals if it does not end by itself."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if await _exits(process):
                return
            self._kill(number)
        await _exits(process)

    def _kill(self, number: signal.Signals) -> None:
        """Sends a signal to the server and its children."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


async def _exits(process: asyncio.subprocess.Process) -> bool:
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except TimeoutError:
        return False
    return True
