"""Starts node servers as processes of this machine, each of which exits with this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

from lanemesh._aio.parent import keep_from_children
from lanemesh._aio.tasks import cancel_stragglers
from lanemesh._grpc.security import OPEN, Security
from lanemesh.faults import LanemeshError
from lanemesh.v1 import registry_pb2

from lanemesh_orchestrator.scheduling.launcher import ServerSpec, not_started

ARBITER_SECONDS = 60.0
"""How long the GPU arbiter may take to report its address."""
STOP_SECONDS = 3.0
"""How long a process may take to end after its standard input was closed, before it is killed."""
KILL_SECONDS = 5.0
"""Time limit for the end of a killed process, and for reading the rest of a log."""
EXIT_REASON_SECONDS = 0.5
"""How long to wait for the end of a process after its connection broke. A frozen process does not end."""
MAX_LOG_LINE = 64 * 1024
"""Longest line of a node server's log that is passed on whole."""

logger = logging.getLogger("lanemesh.spread")


class LocalServer:
    """A node server in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.returncode is not None

    def is_server(self, info: registry_pb2.ServerInfo) -> bool:
        """Whether the registration has the id of this process."""
        return info.pid == self._process.pid

    async def exit_reason(self) -> str:
        """A description of how the process has ended; empty if it has not ended within half a second."""
        process = self._process
        try:
            async with asyncio.timeout(EXIT_REASON_SECONDS):
                code = await process.wait()
        except TimeoutError:
            return ""
        if code >= 0:
            return f"its process {process.pid} ended with exit code {code}"
        by = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        out_of_memory = ", which the system does when memory is exhausted" if by == "SIGKILL" else ""
        return f"its process {process.pid} was killed by {by}{out_of_memory}"


class LocalLauncher:
    """Starts processes of this machine, and the GPU arbiter where it has devices.

    Each process gets the read end of a pipe as its standard input, duplicates it to another descriptor, and exits when the write
    end closes. So no process outlives this one, even if this one is killed. Their logs are forwarded to standard error.
    """

    def __init__(self, log_level: str = "warning", security: Security = OPEN) -> None:
        """`log_level` is the log level of the started processes, `security` their TLS and tokens."""
        self._log_level = log_level
        self._security = security
        self._processes: list[asyncio.subprocess.Process] = []
        self._arbiter: asyncio.subprocess.Process | None = None
        self._echoes: set[asyncio.Task[None]] = set()

    async def launch(self, spec: ServerSpec) -> LocalServer:
        """Starts a node server. It may use every file, module, command and host, because the user controls all pipelines of a
        local mesh. Raises LanemeshError if the mesh would refuse its token."""
        if self._security.auth is not None:
            from lanemesh._grpc.auth.tokens import check_own_token

            await check_own_token(self._security, "/lanemesh.v1.RegistryService/Register")
        what = ["--nodes", str(spec.nodes), "--reload"] if spec.nodes is not None else [spec.service]
        process = await self._spawn(
            spec.interpreter,
            *(
                "lanemesh.server",
                *what,
                "--name",
                spec.name,
                "--orchestrator",
                spec.orchestrator,
                "--files",
                "/",
                "--module",
                "*",
                "--allow",
                "write",
                "--allow",
                "hosts",
                "--allow",
                "commands",
            ),
        )
        self._processes = [*(one for one in self._processes if one.returncode is None), process]
        self._echo(spec.name, process.stdout)
        self._echo(spec.name, process.stderr)
        return LocalServer(process)

    async def launch_arbiter(self) -> str:
        """Starts the GPU arbiter, unless this machine has no devices."""
        from lanemesh.gpu import find_devices

        if not await asyncio.to_thread(find_devices):
            return ""
        arbiter = self._arbiter = await self._spawn(sys.executable, "lanemesh.gpu")
        self._echo("gpu-arbiter", arbiter.stderr)
        assert arbiter.stdout is not None
        try:
            async with asyncio.timeout(ARBITER_SECONDS):
                address = (await arbiter.stdout.readline()).decode().strip()
        except TimeoutError:
            raise _no_arbiter(f"did not report its address within {ARBITER_SECONDS:g} s") from None
        if not address:
            raise _no_arbiter("ended before it had reported its address; its log is above")
        return address

    async def close(self) -> None:
        """Ends every process; the arbiter last."""
        await asyncio.gather(*(_end(process) for process in self._processes))
        if self._arbiter is not None:
            await _end(self._arbiter)
        await cancel_stragglers(KILL_SECONDS, "the end of a node server's log", self._echoes)

    async def _spawn(self, interpreter: str, module: str, *arguments: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(interpreter, "-P", "-m", module),  # -P: files of the working directory do not shadow modules
            *(*arguments, "--log-level", self._log_level, "--exit-with-parent"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which ends the others in order
            limit=MAX_LOG_LINE,
            env={**os.environ, **self._security.environment()},
        )
        keep_from_children(process.stdin)
        return process

    def _echo(self, name: str, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        echo = asyncio.create_task(_forward(name, stream), name=f"log of {name}")
        self._echoes.add(echo)
        echo.add_done_callback(self._echoes.discard)


def _no_arbiter(what: str) -> LanemeshError:
    return not_started(["gpu-arbiter"], what)


async def _forward(name: str, stream: asyncio.StreamReader) -> None:
    """Forwards the log of a process to standard error, each line with the name of the process."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            line = b"(a line longer than 64 KiB was left out)\n"
        if not line:
            return
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{name} | {line.decode(errors='replace').rstrip()}\n")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        try:
            async with asyncio.timeout(KILL_SECONDS):
                await process.wait()
        except TimeoutError:  # a child of the process may keep its output open
            logger.error("process %d was killed and does not end within %g s", process.pid, KILL_SECONDS)
