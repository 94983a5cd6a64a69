"""The phases in which hosts take up their parts: place, connect, start. Each sends one frame to every host; all have to answer."""

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
"""How long node servers may take to place their components; models load in this time."""
QUIET_SECONDS = 60.0
"""How long a node server may give no sign of life while it places; it has one to give every 20 s."""
CONNECT_SECONDS = 30.0
"""How long node servers may take to open lanes and reach helpers."""

Faults = dict[str, list[Fault]]
"""The faults of a phase by the names of the hosts; none of a host that has done its part."""


async def place(hosts: Collection[HostHandle]) -> Faults:
    """Has every host place its components, in 600 s at most. A node server that gives no sign of life for 60 s is lost."""
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
    """Has every host open its lanes and reach its helpers, in 30 s at most. If servers are lost, only their faults count: those of
    the others are the consequence.

    `loss_seconds`: how much longer a loss is waited for if all faults are secondary, since they may be reported before it.
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
    """Has every host start its nodes. `reroutes` are frames for other hosts, which are sent before that."""
    for host in hosts:
        host.started = True  # of all, before anything is awaited: from now on a loss has to be recovered from
    for other, reroute in reroutes:
        await other.send(reroute)
    starting = node_pb2.HostRequest(start=node_pb2.Start())
    await send_to_all(hosts, lambda _: starting)


async def send_to_all(hosts: Collection[HostHandle], frame: Callable[[HostHandle], node_pb2.HostRequest]) -> None:
    """Sends a frame to every host at once: none waits for another. The host of this process, which would keep the event loop busy,
    is the last."""
    in_order = sorted(hosts, key=lambda host: host.server == LOCAL)
    await asyncio.gather(*(host.send(frame(host)) for host in in_order))


@contextlib.asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Does all of this work while the block goes on, and no longer. The first error of it cancels the block, and is raised."""
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
    """Sends a frame to every host, and waits for all answers. `what` says for errors what a host has to do in so many seconds;
    `work` goes on meanwhile."""
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
    """Node servers that place and give no sign of life are lost."""
    loop = asyncio.get_running_loop()
    while waiting := [host for host in hosts if host.server != LOCAL and not host.placed.done()]:
        await asyncio.sleep(min(host.heard_at for host in waiting) + QUIET_SECONDS - loop.time())
        for host in waiting:
            if not host.placed.done() and loop.time() >= host.heard_at + QUIET_SECONDS:
                why = f"it sent no heartbeat for {QUIET_SECONDS:g} s while it was to place its components"
                host.lose(server_lost(host.server, why))
