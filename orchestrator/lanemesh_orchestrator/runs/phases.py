"""The phases that begin a run on its hosts: place, connect, start. Each sends one request to every host. Place and connect wait for
every answer; start does not. Hosts whose lanes are opened at the start, and whose helpers are all on their own server, need no
connect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
from functools import partial
from typing import Any

from lanemesh.faults import Code, Fault
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.runs.host_connection import server_lost
from lanemesh_orchestrator.runs.host_handle import HostHandle
from lanemesh_orchestrator.scheduling.assignment import LOCAL

PLACE_TIMEOUT = 600.0
"""Time limit of placement, in seconds; it includes loading models."""
SILENCE_TIMEOUT = 60.0
"""Time without a frame, in seconds, after which a placing node server is lost. Servers send one every `IDLE_FRAME_SECONDS` of
`lanemesh.protocol`."""
CONNECT_TIMEOUT = 30.0
"""Time limit of opening lanes and connecting helpers, in seconds."""

FaultsByServer = dict[str, list[Fault]]
"""The faults of a phase by server; an empty list for a host that succeeded."""


async def place(hosts: Collection[HostHandle]) -> FaultsByServer:
    """Makes every host place its components, and waits for `PLACE_TIMEOUT` at most. A node server that sends nothing for
    `SILENCE_TIMEOUT` is lost."""
    for host in hosts:
        host.start_listening()
    return await _run_phase(
        hosts,
        make_request=lambda host: node_pb2.HostRequest(place=host.place),
        answer_of=lambda host: host.placed,
        timeout=PLACE_TIMEOUT,
        task="place its components",
        watches_silence=True,
    )


async def connect(hosts: Collection[HostHandle], *, loss_grace: float = 0.0) -> FaultsByServer:
    """Makes every host that needs it open its lanes and connect to its helpers, and waits for `CONNECT_TIMEOUT` at most.

    Args:
        hosts: the hosts, which have placed their components.
        loss_grace: seconds to wait for a lost server to be detected when all faults are secondary: they may arrive before the loss
            that caused them.

    Returns:
        The faults. If a server is lost, only the faults of lost servers are returned; the others are secondary.
    """
    request = node_pb2.HostRequest(connect=node_pb2.Connect())
    faults: FaultsByServer = {host.server: [] for host in hosts}
    connecting = [host for host in hosts if needs_connect(host.place)]
    if connecting:
        faults |= await _run_phase(
            connecting,
            make_request=lambda _: request,
            answer_of=lambda host: host.connected,
            timeout=CONNECT_TIMEOUT,
            task="open its lanes",
        )
    all_faults = [fault for host_faults in faults.values() for fault in host_faults]
    if all_faults and all(fault.secondary for fault in all_faults):
        ends = [host.finished for host in hosts]
        await asyncio.wait(ends, timeout=loss_grace, return_when=asyncio.FIRST_COMPLETED)
    lost = {  # before the start, a host finishes only by being lost
        host.server: host.finished.result() for host in hosts if host.finished.done()
    }
    return lost or faults


def needs_connect(place: node_pb2.Place) -> bool:
    """Whether a host has to connect before the start: to open its lanes, or to reach helpers on other servers."""
    return not place.opens_lanes_at_start or any(control.helper_address for control in place.controls)


async def start(
    hosts: Collection[HostHandle], reroutes: Iterable[tuple[HostHandle, node_pb2.HostRequest]] = ()
) -> None:
    """Makes every host start its nodes, and waits for no answer.

    Args:
        hosts: the hosts, which have connected.
        reroutes: requests to hosts that already run; they are sent before the start.
    """
    lost = [host for host in hosts if host.finished.done()]  # since it was placed, which nothing has noticed
    for host in hosts:
        host.started = True  # for all hosts before the first await: a loss from now on needs recovery
    for other, reroute in reroutes:
        await other.send(reroute)
    request = node_pb2.HostRequest(start=node_pb2.Start())
    await send_to_all(hosts, lambda _: request)
    for host in lost:  # now, since the others must get `start` before what recovery sends them
        host.report_loss()


async def send_to_all(
    hosts: Collection[HostHandle], make_request: Callable[[HostHandle], node_pb2.HostRequest]
) -> None:
    """Sends a request to every host concurrently. The host of this process is the last, since it keeps the event loop busy."""
    in_order = sorted(hosts, key=lambda host: host.server == LOCAL)
    if len(in_order) <= 1:
        for host in in_order:
            await host.send(make_request(host))
        return
    from lanemesh._aio.eager import EagerCoroutine  # an embedded run has one host

    sending = [EagerCoroutine(host.send(make_request(host))) for host in in_order]
    try:
        for begun in sending:
            await begun
    finally:
        for begun in sending:
            begun.close()


@contextlib.asynccontextmanager
async def background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs coroutines while the block runs, and cancels them at its end. The first error cancels the block and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _run_phase(
    hosts: Collection[HostHandle],
    *,
    make_request: Callable[[HostHandle], node_pb2.HostRequest],
    answer_of: Callable[[HostHandle], asyncio.Future[list[Fault]]],
    timeout: float,
    task: str,
    watches_silence: bool = False,
) -> FaultsByServer:
    """Sends a request to every host, and waits for all answers.

    Args:
        hosts: the hosts.
        make_request: the request to a host.
        answer_of: the future answer of a host to it.
        timeout: time limit of all answers, in seconds.
        task: what a host is requested to do, for the fault of one that does not answer in time.
        watches_silence: whether a node server that sends nothing for `SILENCE_TIMEOUT` is lost.
    """
    watch = _SilenceWatch(hosts) if watches_silence else None
    sending = asyncio.create_task(send_to_all(hosts, make_request))
    sending.add_done_callback(partial(_check_sent, hosts))
    try:
        await asyncio.wait([answer_of(host) for host in hosts], timeout=timeout)
    finally:
        if watch is not None:
            watch.end()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    unanswered = [host.server for host in hosts if not answer_of(host).done()]
    servers = f"the server{'s' if len(unanswered) > 1 else ''} {', '.join(unanswered)}"
    timeout_fault = Fault(
        code=Code.DEADLINE_EXCEEDED,
        reason="phase-timeout",
        message=f"{servers} did not {task} within {timeout:g} s",
    )
    return {host.server: [timeout_fault] if host.server in unanswered else answer_of(host).result() for host in hosts}


def _check_sent(hosts: Collection[HostHandle], sending: asyncio.Task[None]) -> None:
    """Ends the phase if the requests could not be sent because of an error of the orchestrator itself."""
    error = None if sending.cancelled() else sending.exception()
    if isinstance(error, Exception):
        for host in hosts:
            host.lose(Fault.from_exception(error, component="orchestrator"))


class _SilenceWatch:
    """Marks placing node servers as lost that sent nothing for `SILENCE_TIMEOUT`."""

    def __init__(self, hosts: Collection[HostHandle]) -> None:
        """Watches from now on, until `end`."""
        self._hosts = hosts
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def end(self) -> None:
        """Ends the watch."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Marks the servers that are silent by now, and looks again when the next one may be."""
        self._timer = None
        now = self._loop.time()
        placing = [host for host in self._hosts if host.server != LOCAL and not host.placed.done()]
        for host in placing:
            if now >= host.heard_at + SILENCE_TIMEOUT:
                why = f"it sent nothing for {SILENCE_TIMEOUT:g} s while it placed its components"
                host.lose(server_lost(host.server, why))
        left = [host.heard_at for host in placing if not host.placed.done()]
        if left:
            self._timer = self._loop.call_at(min(left) + SILENCE_TIMEOUT, self._look)
