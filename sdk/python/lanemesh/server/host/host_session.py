"""The session of one orchestrator on a node host: the frames of a `Host` stream, and the phases of the runs that it places."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Collection, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import unsupported
from lanemesh.node.context import ClientLink
from lanemesh.server.host.hosted_run import HostedRun, Phase
from lanemesh.server.host.instances import InstanceHost
from lanemesh.server.host.response_queue import Outlet, ResponseQueue
from lanemesh.v1 import node_pb2

if TYPE_CHECKING:
    from lanemesh.server.host.preload import Preload

LEAVE_SECONDS = 15.0
"""How long an abandoned part of a run may take to end before the same part is placed again."""

log = logging.getLogger("lanemesh.host")


class SessionHost(InstanceHost, Protocol):
    """The interface of a host for its sessions."""

    @property
    def features(self) -> Collection[str]:
        """The features that it supports beyond the base of the protocol."""

    @property
    def draining(self) -> bool:
        """It takes no new runs."""

    @property
    def max_instances(self) -> int:
        """The most components that it runs at once; 0: no limit."""

    @property
    def active_instances(self) -> int:
        """Components that it runs now, or is placing."""

    @property
    def runs(self) -> dict[tuple[str, int], HostedRun]:
        """Hosted runs, by the run's id and the part of it."""

    @property
    def idle(self) -> asyncio.Event:
        """Set while no run is hosted."""

    @property
    def warm(self) -> set[HostSession]:
        """Sessions that only keep resources loaded."""

    @property
    def spare(self) -> set[HostSession]:
        """Sessions whose run has finished, and that may host another one."""

    async def refresh_or_keep(self) -> None:
        """Loads changed files with node types again, as far as they can be loaded."""


class HostSession:
    """The session of one orchestrator for a run, or for one run after the other, for every transport: requests in, responses out.

    `responses` ends after `finished`, unless the session is reusable and the host does not drain. `close` cancels unfinished work:
    the end of the session ends the run here.
    """

    def __init__(self, host: SessionHost, client: ClientLink | None, *, reusable: bool = False) -> None:
        self._host = host
        self._server = host.name
        """The name by which the orchestrator knows this server."""
        self._client = client
        self._reusable = reusable
        self._run: HostedRun | None = None
        self._queue = ResponseQueue(lambda: self._run)
        self._outlet = Outlet(self._queue)
        """Takes the responses of the present run."""
        self._warm: Preload | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    def responses(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        """The responses of the host, until the session ends. Those that wait are merged, if the orchestrator can read that."""
        return self._queue.frames()

    @property
    def is_over(self) -> bool:
        """Whether it hosts no further run."""
        return self._queue.is_closed

    @property
    def ended_spare(self) -> bool:
        """Whether it ended while it hosted nothing."""
        return self._queue.ends_after_queued

    def handle(self, request: node_pb2.HostRequest) -> None:
        """Handles one frame. Its work is done in tasks of the session."""
        match request.WhichOneof("frame"):
            case "place":
                self._host.spare.discard(self)
                self._begin(self._place(request.place))
            case "connect":
                self._begin(self._connect())
            case "start":
                self._begin_start(self._run)
            case "cancel" if self._run is not None:
                self._begin(self._run.cancel(request.cancel.reason))
            case "release_helpers" if self._run is not None:
                self._run.release_helpers()
            case "grow" if self._run is not None:
                self._run.grow(request.grow)
            case "probe" if self._run is not None:
                self._begin(self._run.probe(request.probe.id))
            case "detach" if self._run is not None:
                self._begin(self._outlet.send(node_pb2.HostResponse(detached=self._run.detach(request.detach))))
            case "reroute" if self._run is not None:
                self._run.reroute(request.reroute)
            case "decide" if self._run is not None:
                self._run.decide(request.decide)

    async def close(self, reason: str = "the orchestrator disconnected") -> None:
        """Cancels unfinished work and waits for its end. It may be called several times, and a caller may be cancelled."""
        await asyncio.shield(self.hang_up(reason))

    def hang_up(self, reason: str) -> asyncio.Task[None]:
        """Starts to close. The server of the session sees its end, and awaits `close`."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(reason), name="close a run's session")
        return self._closing

    async def _close(self, reason: str) -> None:
        if self in self._host.spare:
            self._end_spare()
        self._queue.close()
        if self._run is not None:
            await self._run.cancel(reason)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._warm is not None:
            self._warm.release()
        self._forget()
        self._queue.discard()

    def _end_spare(self) -> None:
        """Ends the session, which hosts nothing, after its queued responses: `finished` may be among them."""
        self._host.spare.discard(self)
        self._queue.close_after_queued()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a run's phase failed", exc_info=task.exception())

    async def send(self, response: node_pb2.HostResponse) -> None:
        """Queues a frame of the session itself, which belongs to no run; waits while the orchestrator is behind."""
        await self._queue.put(response)

    async def _place(self, place: node_pb2.Place) -> None:
        host = self._host
        await host.refresh_or_keep()
        self._server = place.server or host.name
        faults: list[Fault] = []
        earlier = host.runs.get((place.run_id, place.incarnation))
        if earlier is not None and earlier.cancelling:  # an attempt to place it that was abandoned
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await earlier.gone.wait()
        if self._run is not None or self._warm is not None or (place.run_id, place.incarnation) in host.runs:
            faults.append(self._fault(Code.ALREADY_EXISTS, "run-exists", f'the run "{place.run_id}" is already hosted'))
        elif host.draining:
            faults.append(self._fault(Code.UNAVAILABLE, "draining", "it is draining and accepts no new runs"))
        elif missing := unsupported(place.features, host.features):
            faults.append(self._fault(Code.FAILED_PRECONDITION, "missing-feature", lacks(missing)))
        elif place.keep_warm:
            faults = await self._answered(self._keep_warm(place))
        elif host.max_instances and host.active_instances + len(place.instances) > host.max_instances:
            runs = f"it runs {host.active_instances} of at most {host.max_instances} components"
            full = f"{runs}, and {len(place.instances)} more were requested"
            faults.append(self._fault(Code.RESOURCE_EXHAUSTED, "server-full", full))
        else:
            faults = await self._answered(self._place_run(place))
        placed = node_pb2.Placed(faults=[fault.to_proto() for fault in faults])
        await self.send(node_pb2.HostResponse(placed=placed))

    async def _place_run(self, place: node_pb2.Place) -> list[Fault]:
        host = self._host
        self._queue.merges = place.merges_frames
        self._run = host.runs[place.run_id, place.incarnation] = HostedRun(
            host, place, self._outlet.send, self._outlet.try_send, self._client
        )
        host.idle.clear()
        return await self._run.place()

    async def _keep_warm(self, place: node_pb2.Place) -> list[Fault]:
        from lanemesh.server.host.preload import Preload  # few servers need it

        self._warm = Preload(self._host, place)
        self._host.warm.add(self)
        return await self._warm.load()

    async def _answered(self, phase: Awaitable[list[Fault]]) -> list[Fault]:
        """The result of a phase, or its error as a fault: the orchestrator waits for an answer."""
        try:
            return await phase
        except Exception as error:
            if not isinstance(error, LanemeshError):
                log.exception("a run's phase failed")
            return [Fault.from_exception(error, server=self._server)]

    async def _connect(self) -> None:
        if self._run is None or self._run.phase is not Phase.PLACED:
            faults = [self._misplaced("`connect` came before `place` was answered, or twice")]
        else:
            faults = await self._answered(self._run.connect())
        connected = node_pb2.Connected(faults=[fault.to_proto() for fault in faults])
        await self.send(node_pb2.HostResponse(connected=connected))

    def _begin_start(self, run: HostedRun | None) -> None:
        """Starts the nodes of a run that may start. Otherwise the run ends with a fault."""
        if run is not None and run.can_start:
            run.begin()  # in the order of the frames: a `detach` may follow
            self._begin(self._start(run))
        elif run is not None and run.phase is Phase.STARTED:
            self._begin(run.fail(self._misplaced("`start` came twice")))
        elif run is None or run.phase is not Phase.REFUSED:  # otherwise its only `finished` follows
            if run is not None:
                run.phase = Phase.REFUSED
            self._begin(self._refuse_start(run))

    async def _start(self, run: HostedRun) -> None:
        await self._finish(run, await self._answered(run.execute()))

    async def _refuse_start(self, run: HostedRun | None) -> None:
        fault = self._misplaced("`start` came before `connected`")
        if run is not None:
            await run.cancel(fault.message)
        await self._finish(run, [fault])

    async def _finish(self, run: HostedRun | None, faults: Iterable[Fault]) -> None:
        """Sends the last frame of a run, and forgets the run. None: there is no run, but one may still come."""
        finished = node_pb2.Finished(faults=[fault.to_proto() for fault in faults])
        await self._queue.put(node_pb2.HostResponse(finished=finished), self._outlet if run is not None else None)
        if run is None:
            return
        self._forget()
        if not self._reusable:
            self._run = None
            await self._queue.end()
        else:
            self._await_place()

    def _await_place(self) -> None:
        """The run has finished: the session may host another one."""
        self._run, self._outlet = None, Outlet(self._queue)
        if self._host.draining:
            self._end_spare()
        elif not self._queue.is_closed:
            self._host.spare.add(self)

    def _forget(self) -> None:
        self._host.warm.discard(self)
        if self._run is not None:
            self._host.runs.pop((self._run.run_id, self._run.incarnation), None)
            self._run.gone.set()
        if not self._host.runs:
            self._host.idle.set()

    def _misplaced(self, why: str) -> Fault:
        return self._fault(Code.FAILED_PRECONDITION, "not-placed", why)

    def _fault(self, code: Code, reason: str, why: str) -> Fault:
        return Fault(code=code, reason=reason, message=f'the node server "{self._server}": {why}')


def lacks(missing: Sequence[str]) -> str:
    """The error of a node server that lacks features which a run needs, with the remedy, as a phrase after its name."""
    names = " and ".join(f'"{name}"' for name in missing)
    return (
        f"it does not support the feature{'s' if len(missing) > 1 else ''} {names}, which the run needs there. Install a version "
        "of its software that does"
    )
