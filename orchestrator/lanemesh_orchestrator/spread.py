"""Spreading a mesh over local processes: one node server per service or component, each on a leash."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from lanemesh.lanes.faults import Code, Fault, LanemeshError

from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.pipeline import Graph

JOIN_SECONDS = 60.0
"""How long a started node server may take to join."""
STOP_SECONDS = 3.0
"""How long a node server may take to end after its leash was let go, before it is killed."""
MAX_LOG_LINE = 64 * 1024
"""Longest line of a node server's log that is passed on whole."""


class Spread:
    """The node servers that a mesh has started.

    Each holds the read end of a pipe as its standard input, and ends when that closes: so none outlives this process, even
    if it is killed.
    """

    def __init__(
        self, orchestrator: Orchestrator, *, by_component: bool, nodes: Sequence[Path] = (), log_level: str = "warning"
    ) -> None:
        self._orchestrator = orchestrator
        self._by_component = by_component
        self._nodes = nodes
        self._log_level = log_level
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._echoes: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Lock()

    async def prepare(self, graph: Graph) -> dict[str, str]:
        """Starts what a pipeline needs and does not have yet. Returns the server for each component that is not a boundary.

        Raises:
            LanemeshError: a node server ended, or did not join within 60 s.
        """
        homes: dict[str, str] = {}
        services: dict[str, str] = {}
        for component in graph.components.values():
            if not component.manifest.boundary:
                service = component.manifest.service
                homes[component.id] = component.id if self._by_component else service
                services[homes[component.id]] = service
        async with self._starting:
            missing = [name for name in services if not self._is_there(name)]
            await asyncio.gather(*(self._start(name, services[name]) for name in missing))
            await self._joined(services)
        return homes

    async def close(self) -> None:
        """Ends every process."""
        processes = list(self._processes.values())
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()
        await asyncio.gather(*(_end(process) for process in processes))
        await asyncio.gather(*self._echoes, return_exceptions=True)

    def _is_there(self, name: str) -> bool:
        process = self._processes.get(name)
        return process is not None and process.returncode is None

    async def _start(self, name: str, service: str) -> None:
        from_file = next((path for path in self._nodes if path.stem == service), None)
        what = ["--nodes", str(from_file)] if from_file is not None else [service]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lanemesh.server", *what),
            *("--name", name, "--orchestrator", self._orchestrator.address, "--log-level", self._log_level, "--leash"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which ends the others in order
            limit=MAX_LOG_LINE,
        )
        self._processes[name] = process
        echo = asyncio.create_task(_echo(name, process), name=f"log of {name}")
        self._echoes.add(echo)

    async def _joined(self, services: dict[str, str]) -> None:
        registry = self._orchestrator.registry
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                while missing := [name for name in services if name not in registry.members]:
                    ended = [name for name in missing if not self._is_there(name)]
                    if ended:
                        raise _failed(ended, "ended before it had joined; its log is above")
                    await registry.changes.wait_at_most(0.1)
        except TimeoutError:
            missing = [name for name in services if name not in registry.members]
            raise _failed(missing, f"did not join within {JOIN_SECONDS:g} s") from None


def _failed(names: Sequence[str], what: str) -> LanemeshError:
    message = f"the node server {', '.join(names)} {what}. `--log-level debug` shows more"
    return LanemeshError(Fault(code=Code.UNAVAILABLE, reason="server-not-started", message=message))


async def _echo(name: str, process: asyncio.subprocess.Process) -> None:
    """Passes a node server's log on to standard error, each line with its name."""
    assert process.stdout is not None
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:
            line = b"(a line longer than 64 KiB was left out)\n"
        if not line:
            return
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{name} | {line.decode(errors='replace').rstrip()}\n")


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
