"""The mesh that a node runs in, to start further runs: what tools that are pipelines need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from lanemesh._grpc.run_depth import RUN_DEPTH
from lanemesh.client.run_host import RunHost
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.context import Context


@asynccontextmanager
async def mesh_of(context: Context) -> AsyncIterator[RunHost]:
    """Context manager: the mesh that a component runs in. It is that of this process, or a client of the orchestrator that its node
    server has joined. Runs that the current task starts from now on are below the run of the component; 8 may be below each other.

    Raises:
        LanemeshError: "not-wired": the node server has joined no orchestrator.
    """
    RUN_DEPTH.set(context.depth + 1)
    mesh = context.mesh_link()
    if not isinstance(mesh, str):
        yield cast("RunHost", mesh)
        return
    if not mesh:
        message = (
            f"{context.component} ({context.provider}): its node server has joined no orchestrator, so it cannot start runs. "
            "Start the node server with --orchestrator HOST:PORT"
        )
        raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="not-wired", message=message))
    from lanemesh.client.client import Client

    async with Client(mesh) as client:
        yield client
