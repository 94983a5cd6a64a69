"""Spreading a mesh over local processes: one node server per service or component, one GPU arbiter, each on a leash."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence

from lanemesh._aio.bounded import cancel_stragglers
from lanemesh.faults import Code, Fault, LanemeshError

from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.pipeline import Graph

JOIN_SECONDS = 60.0
"""How long a started node server may take to join."""
RELOAD_SECONDS = 30.0
"""How long it may take to load the files of its node types again."""
STOP_SECONDS = 3.0
"""How long a node server may take to end after its leash was let go, before it is killed."""
KILL_SECONDS = 5.0
"""How long a killed process may take to be gone, and what is left of a log to be read, before they are left."""
EXIT_REASON_SECONDS = 0.5
"""How long the end of a process is waited for whose connection broke; it may be frozen instead."""
MAX_LOG_LINE = 64 * 1024
"""Longest line of a node server's log that is passed on whole."""


logger = logging.getLogger("lanemesh.spread")


class Spread:
    """The node servers that a mesh has started, and its GPU arbiter where there are devices.

    Each holds the read end of a pipe as its standard input, and ends when that closes: so none outlives this process, even
    if it is killed.
    """

    def __init__(self, orchestrator: Orchestrator, *, by_component: bool, log_level: str = "warning") -> None:
        self._orchestrator = orchestrator
        self._by_component = by_component
        self._log_level = log_level
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._servers: dict[str, asyncio.subprocess.Process] = {}
        """The same by the names that the registry gave them."""
        self._services: dict[str, str] = {}
        self._arbiter: asyncio.subprocess.Process | None = None
        self._has_looked_for_devices = False
        self._echoes: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Lock()

    async def prepare(self, graph: Graph) -> dict[str, str]:
        """Starts what a pipeline needs and does not have yet. Returns the server for each component that is not a boundary.

        Raises:
            LanemeshError: a process ended, or did not join within 60 s.
        """
        homes: dict[str, str] = {}
        services: dict[str, str] = {}
        needed: dict[str, set[str]] = {}
        """The node types that each server has to have."""
        for component in graph.components.values():
            if not component.manifest.boundary:
                service = component.manifest.service
                name = self._name(component.id, service) if self._by_component else service
                homes[component.id], services[name] = name, service
                if service in self._orchestrator.node_files:
                    needed.setdefault(name, set()).add(component.provider)
        async with self._starting:
            if services:
                await self._start_arbiter()
            missing = [name for name in services if not self._is_there(name)]
            await asyncio.gather(*(self._start(name, services[name]) for name in missing))
            joined = await self._joined(services)
            await self._have_types({joined[name]: types for name, types in needed.items()})
        self._servers.update({joined[name]: self._processes[name] for name in joined})
        return {component: joined[name] for component, name in homes.items()}

    async def exit_reason(self, server: str) -> str:
        """How the process of a node server has ended, in words; empty if it has not, or is none of these."""
        process = self._servers.get(server)
        if process is None:
            return ""
        try:
            async with asyncio.timeout(EXIT_REASON_SECONDS):
                code = await process.wait()
        except TimeoutError:
            return ""
        if code >= 0:
            return f"its process {process.pid} ended with exit code {code}"
        by = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        out_of_memory = ", as the system does when memory runs out" if by == "SIGKILL" else ""
        return f"its process {process.pid} was killed by {by}{out_of_memory}"

    async def close(self) -> None:
        """Ends every process; the arbiter last."""
        await asyncio.gather(*(_end(process) for process in self._processes.values()))
        if self._arbiter is not None:
            await _end(self._arbiter)
        await cancel_stragglers(KILL_SECONDS, "the end of a node server's log", self._echoes)

    def _name(self, component: str, service: str) -> str:
        """The server of a component; another one if an earlier pipeline had a component of this name from another service."""
        name = component
        while self._services.setdefault(name, service) != service:
            name = f"{name}-{service}"
        return name

    def _is_there(self, name: str) -> bool:
        process = self._processes.get(name)
        return process is not None and process.returncode is None

    async def _start(self, name: str, service: str) -> None:
        from_file = self._orchestrator.node_files.get(service)
        what = ["--nodes", str(from_file), "--reload"] if from_file is not None else [service]
        process = self._processes[name] = await _spawn(
            *("lanemesh.server", *what, "--name", name, "--orchestrator", self._orchestrator.address),
            *("--log-level", self._log_level, "--files", "/", "--leash"),  # runs of one's own may name any file
        )
        self._echo(name, process.stdout)
        self._echo(name, process.stderr)

    async def _start_arbiter(self) -> None:
        """Starts the one GPU arbiter of the mesh, unless there are no devices, or it has one already."""
        if self._orchestrator.gpu_arbiter or self._has_looked_for_devices:
            return
        self._has_looked_for_devices = True
        from lanemesh.gpu import find_devices

        if not await asyncio.to_thread(find_devices):
            return
        name = "gpu-arbiter"
        arbiter = self._arbiter = await _spawn(
            "lanemesh_services.gpu_arbiter", "--log-level", self._log_level, "--leash"
        )
        self._echo(name, arbiter.stderr)
        assert arbiter.stdout is not None
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                address = (await arbiter.stdout.readline()).decode().strip()
        except TimeoutError:
            raise _failed([name], f"did not say its address within {JOIN_SECONDS:g} s") from None
        if not address:
            raise _failed([name], "ended before it had said its address; its log is above")
        self._orchestrator.gpu_arbiter = address

    async def _joined(self, services: dict[str, str]) -> dict[str, str]:
        """Waits until all of these have joined. Returns the names that they got: one that died may still be listed as well."""
        registry = self._orchestrator.registry
        joined: dict[str, str] = {}
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                while True:
                    members = {member.info.pid: name for name, member in registry.members.items()}
                    joined = {name: members[pid] for name in services if (pid := self._processes[name].pid) in members}
                    missing = [name for name in services if name not in joined]
                    if not missing:
                        return joined
                    ended = [name for name in missing if not self._is_there(name)]
                    if ended:
                        raise _failed(ended, "ended before it had joined; its log is above")
                    await registry.changes.wait_at_most(0.1)
        except TimeoutError:
            missing = [name for name in services if name not in joined]
            raise _failed(missing, f"did not join within {JOIN_SECONDS:g} s") from None

    async def _have_types(self, needed: dict[str, set[str]]) -> None:
        """Waits until these servers have loaded their files again, if node types were added to them."""
        registry = self._orchestrator.registry
        with contextlib.suppress(TimeoutError):  # then the run reports which node type is missing
            async with asyncio.timeout(RELOAD_SECONDS):
                while any(
                    name in registry.members and not types <= registry.members[name].manifests.keys()
                    for name, types in needed.items()
                ):
                    await registry.changes.wait()

    def _echo(self, name: str, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        echo = asyncio.create_task(_pass_on(name, stream), name=f"log of {name}")
        self._echoes.add(echo)
        echo.add_done_callback(self._echoes.discard)


async def _spawn(module: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *arguments),  # -P: files here that are called like modules are none
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process, which ends the others in order
        limit=MAX_LOG_LINE,
    )


def _failed(names: Sequence[str], what: str) -> LanemeshError:
    message = f"the node server {', '.join(names)} {what}. `--log-level debug` shows more"
    return LanemeshError(Fault(code=Code.UNAVAILABLE, reason="server-not-started", message=message))


async def _pass_on(name: str, stream: asyncio.StreamReader) -> None:
    """Passes a process's log on to standard error, each line with its name."""
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
        except TimeoutError:  # one that it has started itself may hold its output
            logger.error("process %d was killed and does not end within %g s", process.pid, KILL_SECONDS)
