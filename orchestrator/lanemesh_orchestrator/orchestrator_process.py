"""A process that serves an orchestrator until a signal stops it."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from lanemesh._aio.signals import StopSignals

from lanemesh_orchestrator.orchestrator import MoreServices, Orchestrator
from lanemesh_orchestrator.runs.retention import DEFAULT_BUDGET

if TYPE_CHECKING:
    from lanemesh_orchestrator.store.options import StoreOptions

logger = logging.getLogger("lanemesh.orchestrator")

DRAIN_SECONDS = 5.0
"""How long active runs may take to end when a signal stops an orchestrator. Container engines kill a process 10 s after the signal,
and the cancellation of runs takes some of this time."""

Beside = Callable[[str], AbstractAsyncContextManager[object]]
"""Serves something while an orchestrator does. It gets the address of the orchestrator."""


async def serve(
    host: str = "127.0.0.1",
    port: int = 7070,
    *,
    advertise: str = "",
    insecure: bool = False,
    nodes: Sequence[Path] = (),
    gpu_arbiter: str = "",
    servers: Sequence[str] = (),
    store: StoreOptions | None = None,
    variables: Mapping[str, str] | None = None,
    plain_variables: Collection[str] = (),
    run_memory: int = DEFAULT_BUDGET,
    more: MoreServices | None = None,
    beside: Beside | None = None,
    drain_seconds: float = DRAIN_SECONDS,
    stop: asyncio.Event | None = None,
) -> int:
    """Runs an orchestrator until SIGTERM, SIGINT or `stop`. The first signal drains it: it takes no new runs, gives the active ones
    `drain_seconds` to end, and cancels the others. A second signal ends the process at once. Returns the exit code. `more` adds
    further services to its server.

    `beside` serves something else meanwhile, such as the web gateway: it gets the address at which this process reaches the
    orchestrator, is entered when the orchestrator listens, and left when its runs have ended.

    Raises:
        LanemeshError: the port is in use, the address is not loopback and `insecure` is not set, or one of `servers` is no
            address.
    """
    from lanemesh._grpc.limits import raise_file_limit
    from lanemesh.server.memory import keep_freed_memory

    keep_freed_memory()
    raise_file_limit()
    orchestrator = Orchestrator(
        embedded=False,
        nodes=nodes,
        gpu_arbiter=gpu_arbiter,
        servers=servers,
        store=store,
        variables=variables,
        plain_variables=plain_variables,
        run_memory=run_memory,
    )
    await orchestrator.listen(host, port, advertise=advertise, insecure=insecure, more=more)
    gc.collect()
    gc.freeze()  # as a node server does
    stop = stop or asyncio.Event()
    async with AsyncExitStack() as served:
        if beside is not None:
            await served.enter_async_context(beside(_dialled(orchestrator)))
        await _until(stop, orchestrator, drain_seconds)
    return 0


async def _until(stop: asyncio.Event, orchestrator: Orchestrator, drain_seconds: float) -> None:
    signalled = asyncio.Event()

    def on_signal() -> None:
        signalled.set()
        stop.set()

    with StopSignals(on_signal):
        logger.info("listening, reached at %s", orchestrator.address)
        if orchestrator.stored_in:
            logger.info("runs are stored in %s", orchestrator.stored_in)
        await stop.wait()
        active = orchestrator.runs.active_count
        if signalled.is_set() and active and drain_seconds:
            what = "draining for %g s at most; active runs: %d. A second signal ends this process at once"
            logger.info(what, drain_seconds, active)
            if not await orchestrator.drain(drain_seconds):
                logger.warning(
                    "runs that have not ended in time, and are cancelled: %d", orchestrator.runs.active_count
                )
        await orchestrator.close()


def _dialled(orchestrator: Orchestrator) -> str:
    """The address at which this process reaches its orchestrator: not the advertised one, which may be that of a proxy."""
    assert orchestrator.grpc is not None, "it listens"
    host, _, port = orchestrator.grpc.address.rpartition(":")
    own = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return f"{own}:{port}"
