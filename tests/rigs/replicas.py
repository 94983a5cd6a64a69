"""Meshes whose node servers are processes of which each can run every node type of `recovery_nodes`, so that one can be lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from lanemesh.channels import Channels
from lanemesh.client.runs import Run
from lanemesh.client.specs import run_spec
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.link import LocalRunLink
from lanemesh_orchestrator.runs.run_options import RunOptions

from rigs.forked import ForkedProcess, forked_server
from rigs.runs import Pipeline, until

RECOVERY_NODES = Path(__file__).with_name("recovery_nodes.py")


class Replicas:
    """An orchestrator, and the node servers that have joined it."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.orchestrator = orchestrator
        self.processes: dict[str, ForkedProcess] = {}
        self.kills = 0
        """How often a node server was sent a signal by `kill`."""
        self._hurt: set[str] = set()
        """Those that were killed or frozen."""

    async def start(self, *names: str) -> None:
        """Starts node servers, and waits until they have joined."""
        for name in names:
            self.processes[name] = await forked_server(
                *("--nodes", str(RECOVERY_NODES), "--name", name, "--label", f"name={name}"),
                *("--orchestrator", self.orchestrator.address, "--log-level", "warning", "--exit-with-parent"),
            )
        await until(lambda: all(self._has_joined(name) for name in names), 30)

    async def have(self, *names: str) -> None:
        """Sees to it that these node servers are up, and no others."""
        for name in [*self.processes]:
            if name not in names or name in self._hurt:
                self._hurt.discard(name)
                process = self.processes.pop(name)
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        kept = {process.pid for process in self.processes.values()}
        members = self.orchestrator.registry.members
        await until(lambda: all(member.info.pid in kept for member in members.values()))
        await self.start(*(name for name in names if name not in self.processes))

    def _has_joined(self, name: str) -> bool:
        member = self.orchestrator.registry.members.get(name)
        return member is not None and member.info.pid == self.processes[name].pid

    def run(
        self, document: Pipeline, homes: Mapping[str, str], *, timeout: float | None = None, inputs: Any = ()
    ) -> Run:
        """A run whose components live where it is said."""
        runs = self.orchestrator.runs

        async def begin() -> ActiveRun:
            return runs.start(runs.validate(run_spec(document, None)), RunOptions(homes=homes, timeout=timeout))

        return Run(LocalRunLink(begin, lambda _: Channels(lambda: self.orchestrator.channels)), list(inputs))

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a node server a signal, by which it is lost."""
        self.kills += 1
        self._hurt.add(name)
        os.kill(self.processes[name].pid, number)

    async def end(self) -> None:
        """Ends every process."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*(process.wait() for process in self.processes.values()))


@asynccontextmanager
async def replicas(*names: str) -> AsyncIterator[Replicas]:
    """A mesh with these node servers."""
    orchestrator = Orchestrator(embedded=False, nodes=[RECOVERY_NODES])
    await orchestrator.listen()
    mesh = Replicas(orchestrator)
    try:
        await mesh.start(*names)
        yield mesh
    finally:
        await orchestrator.close()
        await mesh.end()


def details(updates: list[update_pb2.Update], component: str) -> list[str]:
    """What was told of where a component was placed again."""
    nodes = [update.node for update in updates if update.WhichOneof("kind") == "node"]
    return [
        node.detail for node in nodes if node.component == component and node.state == update_pb2.NODE_STATE_STARTING
    ]
