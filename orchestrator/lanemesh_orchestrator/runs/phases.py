"""The phases of starting a run: place, connect, start. Each phase sends one frame to every host; every host must answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
from typing import Any

from lanemesh.faults import Code, Fault
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.runs.host_connection import server_lost
from lanemesh_orchestrator.runs.host_handle import HostHandle
from lanemesh_orchestrator.scheduling.assignment import LOCAL

PLACE_SECONDS = 600.0
"""Time limit for node servers to place their components, which includes the loading of models."""
QUIET_SECONDS = 60.0
"""Time without a heartbeat after which a placing node server is lost; it must send one every 20 s."""
CONNECT_SECONDS = 30.0
"""Time limit for node servers to open lanes and connect to helpers."""

Faults = dict[str, list[Fault]]
"""The faults of a phase by the names of the hosts; empty for a host that has succeeded."""


async def place(hosts: Collection[HostHandle]) -> Faults:
    """Makes every host place its components, within 600 s. A node server that sends no heartbeat for 60 s is lost."""
    for host in hosts:
        host.begin()
    return await _phase(
        hosts,
        lambda host: node_pb2.HostRequest(place=host.place),
        lambda host: host.placed,
        PLACE_SECONDS,
        "place its components",
        _lose_quiet(hosts),
    )


async def connect(hosts: Collection[HostHandle], *, loss_seconds: float = 0.0) -> Faults:
    """Makes every host open its lanes and connect to its helpers, within 30 s. If servers are lost, returns only their faults,
    because the other faults are consequences.

    `loss_seconds`: how long to wait for the loss of a server if all faults are secondary, because they may arrive before it.
    """
    connecting = node_pb2.HostRequest(connect=node_pb2.Connect())
    faults = await _phase(hosts, lambda _: connecting, lambda host: host.connected, CONNECT_SECONDS, "open its lanes")
    found = [fault for each in faults.values() for fault in each]
    if found and all(fault.secondary for fault in found):
        ends = [host.finished for host in hosts]
        await asyncio.wait(ends, timeout=loss_seconds, return_when=asyncio.FIRST_COMPLETED)
    lost = {host.server: host.finished.result() for host in hosts if host.finished.done()}
    return lost or faults


async def start(
    hosts: Collection[HostHandle], reroutes: Iterable[tuple[HostHandle, node_pb2.HostRequest]] = ()
) -> None:
    """Makes every host start its nodes. `reroutes` are frames for other hosts, which are sent first."""
    for host in hosts:
        host.started = True  # for all hosts before the first await: a loss from now on needs recovery
    for other, reroute in reroutes:
        await other.send(reroute)
    starting = node_pb2.HostRequest(start=node_pb2.Start())
    await send_to_all(hosts, lambda _: starting)


async def send_to_all(hosts: Collection[HostHandle], frame: Callable[[HostHandle], node_pb2.HostRequest]) -> None:
    """Sends a frame to every host concurrently. The host of this process comes last, because it would keep the event loop
    busy."""
    in_order = sorted(hosts, key=lambda host: host.server == LOCAL)
    await asyncio.gather(*(host.send(frame(host)) for host in in_order))


@contextlib.asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs the coroutines while the block runs, and cancels them at its end. Their first error cancels the block and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _phase(
    hosts: Collection[HostHandle],
    frame: Callable[[HostHandle], node_pb2.HostRequest],
    answer: Callable[[HostHandle], asyncio.Future[list[Fault]]],
    seconds: float,
    what: str,
    *work: Coroutine[Any, Any, None],
) -> Faults:
    """Sends a frame to every host, and waits for all answers within `seconds`. `what` names the task of the hosts in errors. The
    coroutines of `work` run during the phase."""
    async with beside(send_to_all(hosts, frame), *work):
        await asyncio.wait([answer(host) for host in hosts], timeout=seconds)
    silent = ", ".join(host.server for host in hosts if not answer(host).done())
    late = Fault(
        code=Code.DEADLINE_EXCEEDED,
        reason="phase-timeout",
        message=f"{silent} did not {what} within {seconds:g} s",
    )
    return {host.server: answer(host).result() if answer(host).done() else [late] for host in hosts}


async def _lose_quiet(hosts: Collection[HostHandle]) -> None:
    """Marks placing node servers without a heartbeat as lost."""
    loop = asyncio.get_running_loop()
    while waiting := [host for host in hosts if host.server != LOCAL and not host.placed.done()]:
        await asyncio.sleep(min(host.heard_at for host in waiting) + QUIET_SECONDS - loop.time())
        for host in waiting:
            if not host.placed.done() and loop.time() >= host.heard_at + QUIET_SECONDS:
                why = f"it sent no heartbeat for {QUIET_SECONDS:g} s while it was to place its components"
                host.lose(server_lost(host.server, why))
