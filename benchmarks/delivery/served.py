"""A mesh as users run it: `lanemesh serve`, three node servers that join it, and a client, each in a process of its own."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanemesh import Client, LanemeshError

from chain.mesh import NODES, TEXTS, chain
from chain.processes import free_port, lanemesh
from chain.work import Work

STAGES = ("source", "middle", "count")
"""Components of the chain that have a node server of their own."""
START_LIMIT_S = 300.0
"""Far more than a mesh needs on a machine that other programs use."""


@dataclass(frozen=True)
class Served:
    """A mesh that is up."""

    client: Client
    """Connected to its orchestrator, over gRPC; it lives in the process of the benchmark."""
    address: str
    """Of its orchestrator."""
    processes: dict[str, int]
    """The process ids of its orchestrator and of its node servers, by name."""


@asynccontextmanager
async def served(*, store: bool, recordings: Path | None = None) -> AsyncIterator[Served]:
    """A mesh without a store, or with the kind of store that `lanemesh serve` has by default, in a folder of its own. `recordings`:
    a folder in which each of its processes records the frames of its runs, in a file of its name."""

    def recording(name: str) -> Path | None:
        return recordings / name if recordings is not None else None

    address = f"127.0.0.1:{free_port()}"
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "runs.sqlite" if store else "none"
        orchestrator = await stack.enter_async_context(
            lanemesh(
                *("serve", "--store", path, "--port", address.rpartition(":")[2]), recording=recording("orchestrator")
            )
        )
        joining = [
            lanemesh(
                *("node", "--nodes", NODES, "--name", stage, "--label", f"stage={stage}", "--orchestrator", address),
                recording=recording(stage),
            )
            for stage in STAGES
        ]
        servers = [await stack.enter_async_context(server) for server in joining]
        processes = {"orchestrator": orchestrator.pid} | {
            stage: server.pid for stage, server in zip(STAGES, servers, strict=True)
        }
        client = await stack.enter_async_context(Client(address))
        await _until_joined(client, [orchestrator, *servers])
        yield Served(client, address, processes)


def placed_chain(work: Work) -> dict[str, Any]:
    """The chain, each of its stages on the node server of that name."""
    pipeline = chain("text", TEXTS, work)
    for component in pipeline["components"]:
        if component["id"] in STAGES:
            component["placement"] = {"labels": {"stage": component["id"]}}
    return pipeline


class ServedChain:
    """The chain on a served mesh."""

    load = 5_000

    def __init__(self, name: str, mesh: Served) -> None:
        self.name = name
        self._mesh = mesh

    async def results(self, work: Work) -> AsyncGenerator[str, None]:
        """Runs the pipeline by the client."""
        async with aclosing(self._mesh.client.run(placed_chain(work), input="go").values()) as outputs:
            async for text in outputs:
                yield text


async def _until_joined(client: Client, processes: list[asyncio.subprocess.Process]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if ended := [process.returncode for process in processes if process.returncode is not None]:
            raise RuntimeError(f"processes of the mesh ended before it was up, with the exit statuses {ended}")
        try:
            found = {server.name for server in await client.node_servers() if server.health == "serving"}
        except LanemeshError:  # it does not listen yet
            found = set()
        if found.issuperset(STAGES):
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the node servers did not join the mesh within {START_LIMIT_S:g} s")
