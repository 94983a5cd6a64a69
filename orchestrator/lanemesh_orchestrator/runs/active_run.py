"""One run under way: placed, connected, started, supervised, ended in exactly one terminal state."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lanemesh._grpc.traceparent import fresh_traceparent
from lanemesh.codec import encode_into
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import Feature
from lanemesh.items import ABSENT, Item, LaneType
from lanemesh.node.context import ClientInput
from lanemesh.rendering import valid_unicode
from lanemesh.server.host.log_lines import LogLines, log_update
from lanemesh.v1 import node_pb2, run_pb2, update_pb2

from lanemesh_orchestrator.deadlock.monitor import DeadlockMonitor
from lanemesh_orchestrator.pipeline import Graph, ServerAddress, plan
from lanemesh_orchestrator.runs.counter_offsets import CounterOffsets
from lanemesh_orchestrator.runs.host_connection import HostConnection, bad_server, server_lost
from lanemesh_orchestrator.runs.host_handle import HostHandle
from lanemesh_orchestrator.runs.inputs import RunInputs
from lanemesh_orchestrator.runs.recovery import Recovery
from lanemesh_orchestrator.runs.steps import Steps
from lanemesh_orchestrator.runs.update_log import RunLog
from lanemesh_orchestrator.runs.update_validator import ENDED
from lanemesh_orchestrator.scheduling.assignment import LOCAL, Assignment

if TYPE_CHECKING:
    from lanemesh.server.host.taps import TapLines

PLACE_SECONDS = 600.0
"""How long node servers may take to place a run; models load in this time."""
QUIET_SECONDS = 60.0
"""How long a node server may give no sign of life while it places; it has one to give every 20 s."""
CONNECT_SECONDS = 30.0
"""How long node servers may take to open lanes and reach helpers."""
PRIMARY_SECONDS = 1.0
"""How long a run with only secondary faults waits for the primary one."""
SILENT_SECONDS = 4.0
"""How much longer it waits for servers that do not answer: theirs may be the primary one."""
ON_THEIR_WAY_SECONDS = 1.0
"""How much longer the targets of a failed run may go on, while other servers stop."""
LINGER_SECONDS = 60.0
"""How long node servers may take to finish once every node has ended."""

_NUMBERS = itertools.count(1)

logger = logging.getLogger("lanemesh.runs")

Dial = Callable[[str], HostConnection]
"""Makes the connection to the node server of a name."""
TakeSeat = Callable[[node_pb2.Place, str], HostHandle]
"""Makes the seat of a node server's part, given the server's name. Raises LanemeshError if that is gone."""


class ActiveRun:
    """One run. Its log tells all that happens, the terminal update last."""

    def __init__(
        self,
        run_id: str,
        graph: Graph,
        log: RunLog,
        *,
        owned: bool = True,
        timeout: float | None = None,
        traceparent: str = "",
    ) -> None:
        self.id = run_id
        self.traceparent = traceparent or fresh_traceparent()
        """The trace that it belongs to, as W3C Trace Context writes it."""
        self.graph = graph
        self.log = log
        self.owned = owned
        self.deployment = graph.deployment
        """The deployed pipeline that it runs; empty if it is none."""
        self.deployment_version = graph.deployment_version
        """Its version."""
        self.state: update_pb2.RunState.ValueType = update_pb2.RUN_STATE_STARTING
        self.number = next(_NUMBERS)
        """Later runs of this process have larger numbers."""
        self.created_at = time.time_ns()
        """When it was asked for, in nanoseconds since 1970."""
        self.started_at = 0
        """When its nodes were started, likewise; 0: they were not."""
        self.ended_at = 0
        """When it ended, likewise; 0: it has not."""
        self.output_count = 0
        """How many items have reached a target."""
        self.error: Fault | None = None
        """The first primary cause, if it has failed."""
        self.reason = ""
        """Why it was cancelled, if it was."""
        self.placements: Mapping[str, update_pb2.Placement] = {}
        """Where each component lives; empty until the run is placed."""
        self._timeout = timeout if timeout is not None else graph.timeout
        self._secrets = graph.secrets()
        self._faults: list[Fault] = []
        self._hosts: dict[str, HostHandle] = {}
        self._ends_at: float | None = None
        """When its time is over, by the clock of the event loop."""
        self._awaiting_primary: asyncio.Task[None] | None = None
        self._cancelled_because: str | None = None
        self._stopping = asyncio.Event()
        self._going = {component.id for component in graph.components.values() if not component.helper}
        self._all_ended = asyncio.Event()
        self.on_stopped: Callable[[], None] | None = None
        """Is called once every node has stopped, before the terminal update."""
        self.ended = asyncio.Event()
        """Set after the terminal update."""
        self._inputs = RunInputs(run_id, graph.source, graph.source_outputs)
        self._lines = LogLines(log.offer)
        self._traces: TapLines | None = None
        self._deadlocks = DeadlockMonitor(run_id, graph, log.append, self._note_fault)
        self._offsets = CounterOffsets(graph.edges)
        self._steps = Steps(run_id)
        self._controls = {shape.edge_id for shape in graph.shapes() if shape.class_type}

    # What clients do

    def begin(self, given: Iterable[run_pb2.RunInput | ClientInput], *, end: bool) -> None:
        """Takes the first inputs of a detached run, all at once. `end`: no more input comes after these.

        Raises:
            LanemeshError: the pipeline has no client-fed source, or an item is no valid value.
        """
        self._inputs.begin(given, end=end)

    async def push(self, *given: run_pb2.RunInput, end: bool = False) -> None:
        """Feeds the source, in order; waits while it is behind. `end`: no more input comes after these.

        Raises:
            LanemeshError: the pipeline has no client-fed source, its input or the run itself has ended, or an item is no
                valid value: then none of these is taken.
        """
        await self._inputs.push(given, end=end)

    def cancel(self, reason: str) -> None:
        """Cancels the run, unless it is already ending."""
        if not self._stopping.is_set():
            self._cancelled_because = valid_unicode(reason) or "cancelled"
            self._stopping.set()
            self._inputs.stop()

    def fail(self, fault: Fault) -> None:
        """Ends the run with a fault that came from outside of it, unless it has ended."""
        if not self.ended.is_set():
            self._note_fault(fault)

    # What boundary nodes do (ClientLink)

    def inputs(self, component: str) -> AsyncIterator[ClientInput]:
        """The client's inputs for a source, until it has ended them."""
        return self._inputs.take(component)

    async def deliver(self, component: str, port: str, lane: str, item: Item) -> None:
        """Hands an item to the client; waits while the client is behind."""
        await self.log.room()
        update = update_pb2.Update()
        output = update.output
        output.component, output.port = component, port
        encode_into(output.item, LaneType(lane), item)
        if item.value is not ABSENT:
            self.output_count += 1
        self._steps.take(update)
        self.log.append(update)

    # The run itself

    async def execute(self, assignment: Assignment, dial: Dial) -> None:
        """Takes the run from `place` to its terminal update. `assignment` says where each component lives."""
        self._tell(update_pb2.JobUpdate(state=update_pb2.RUN_STATE_STARTING))
        hosts = self._hosts

        def open_host(place: node_pb2.Place, server: str) -> HostHandle:
            host = HostHandle(server, dial(server), place, self._on_update, self._on_lost, self._deadlocks.stalled)
            host.finished.add_done_callback(partial(self._host_finished, host))
            return host

        self._recovery = Recovery(
            self.id,
            self.graph,
            hosts,
            open_host=open_host,
            tell=self._on_update,
            fail=self._note_fault,
            time_left=self._time_left,
            placed_again=self._offsets.placed_again,
            traceparent=self.traceparent,
        )
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeout) as deadline:
                    self._ends_at = deadline.when()
                    if await self._place(assignment, open_host):
                        self._warn_of_untraced(assignment.servers())
                        placements = assignment.placements()
                        self._recovery.begin(assignment.servers(), placements, assignment.reassign)
                        self.placements = self._recovery.placements
                        await self._start(hosts, placements)
            if deadline.expired() and assignment.waiting:
                self._note_fault(assignment.timed_out(self._timeout or 0.0).fault)
            elif deadline.expired():
                waits = await self._deadlocks.who_waits(hosts.values())
                message = f"the run took longer than its timeout of {self._timeout:g} s" + (
                    f": {waits}" if waits else ""
                )
                self._note_fault(Fault(code=Code.DEADLINE_EXCEEDED, reason="timeout", message=message))
        except LanemeshError as error:
            self._note_fault(error.fault)
        except asyncio.CancelledError:
            self.cancel("the orchestrator stops")
            raise
        except Exception as error:  # a fault of the orchestrator itself must end the run too
            logger.exception("run %s", self.id)
            self._note_fault(Fault.from_exception(error, component="orchestrator"))
        finally:
            if self._awaiting_primary is not None:
                self._awaiting_primary.cancel()
            await self._recovery.stop()
            await self._stop(hosts)
            if self.on_stopped is not None:
                self.on_stopped()
                self.on_stopped = None
            hosts.clear()  # an ended run is kept for its log: their calls would hold more memory than that
            self._end()

    async def _place(self, assignment: Assignment, open_host: TakeSeat) -> bool:
        """Has every server place its part and open its lanes; where some refuse it or are lost, others, since nothing has begun.
        Returns whether the run may go on."""
        hosts = self._hosts
        while await self._has_servers(assignment):
            faults = await self._ask_to_place(assignment, open_host)
            if not self._stopping.is_set() and not any(faults.values()):
                faults = await self._ask_to_connect()
            if self._stopping.is_set() or not any(faults.values()) or not assignment.refused(faults):
                return self._may_go_on(faults)
            await asyncio.gather(*(host.stop("the run is placed elsewhere") for host in hosts.values()))
            hosts.clear()
        return False

    async def _has_servers(self, assignment: Assignment) -> bool:
        """Waits until the run has servers. Returns False if it is to stop."""
        if assignment.waiting:
            waiting = asyncio.create_task(assignment.ready(self._report_waiting), name=f"{self.id} in line")
            try:
                await self._until([waiting])
            finally:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            if not waiting.cancelled():
                waiting.result()
        return not self._stopping.is_set()

    async def _ask_to_place(self, assignment: Assignment, open_host: TakeSeat) -> dict[str, list[Fault]]:
        """Makes the seats, and has each place its part. Returns the faults of each."""
        hosts = self._hosts
        for name, place in self._plan(assignment).items():
            self._steps.placing(name, place)
            try:
                hosts[name] = open_host(place, name)
            except LanemeshError as error:
                return {name: [error.fault]}
        for host in hosts.values():
            host.begin()
        async with self._beside(
            self._notify_hosts(lambda host: node_pb2.HostRequest(place=host.place)), self._lose_quiet(hosts)
        ):
            return await self._all(hosts, lambda host: host.placed, PLACE_SECONDS, "place the run")

    def _plan(self, assignment: Assignment) -> dict[str, node_pb2.Place]:
        servers = assignment.servers()
        return plan(self.graph, servers, run_id=self.id, timeout=self._timeout, traceparent=self.traceparent)

    def _warn_of_untraced(self, servers: Mapping[str, ServerAddress]) -> None:
        """Items that reach components on servers without the feature "traces" are not reported, though the run asks for it."""
        if self.graph.trace == "none":
            return
        for name, server in servers.items():
            if Feature.TRACES not in server.features:
                what = f'the node server "{server.name}" lacks the feature "traces": items that reach {name} are not traced'
                self.log.append(log_update(name, logging.WARNING, what))

    async def _lose_quiet(self, hosts: Mapping[str, HostHandle]) -> None:
        """Servers that place and give no sign of life for 60 s are lost."""
        loop = asyncio.get_running_loop()
        while waiting := [host for host in hosts.values() if host.server != LOCAL and not host.placed.done()]:
            await asyncio.sleep(min(host.heard_at for host in waiting) + QUIET_SECONDS - loop.time())
            for host in waiting:
                if not host.placed.done() and loop.time() >= host.heard_at + QUIET_SECONDS:
                    why = f"it gave no sign of life for {QUIET_SECONDS:g} s while it was to place the run"
                    host.lose(server_lost(host.server, why))

    async def _ask_to_connect(self) -> dict[str, list[Fault]]:
        """Has each server open its lanes and reach its helpers. Returns the faults of each; if servers are lost, only theirs: the
        others' are the consequence, and may be told before the loss is noticed."""
        hosts = self._hosts
        async with self._beside(self._notify_hosts(lambda _: node_pb2.HostRequest(connect=node_pb2.Connect()))):
            faults = await self._all(hosts, lambda host: host.connected, CONNECT_SECONDS, "open the lanes")
        told = [fault for found in faults.values() for fault in found]
        if told and all(fault.secondary for fault in told):
            ends = [host.finished for host in hosts.values()]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PRIMARY_SECONDS):
                    await self._until(ends, first=True)
        lost = {host.server: host.finished.result() for host in hosts.values() if host.finished.done()}
        return lost or faults

    async def _start(self, hosts: Mapping[str, HostHandle], placements: Sequence[update_pb2.Placement]) -> None:
        """Starts the nodes, and waits until all have ended."""
        self._steps.connected()
        self.state = update_pb2.RUN_STATE_RUNNING
        self.started_at = time.time_ns()
        self._tell(
            self._with_inputs(update_pb2.JobUpdate(state=self.state, placements=placements, edges=self.graph.shapes()))
        )
        for host in hosts.values():
            host.started = True  # of all, before anything is awaited: who is lost from now on is to be made up for
        await self._notify_hosts(lambda _: node_pb2.HostRequest(start=node_pb2.Start()))
        async with self._beside(self._release_helpers(hosts), self._deadlocks.watch(hosts.values())):
            while going := self._going_on(hosts):
                await self._until(going, first=True)

    @contextlib.asynccontextmanager
    async def _beside(self, *work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Does all of this meanwhile, and no longer. What it raises is a fault of the orchestrator itself, and ends the run."""
        tasks = [asyncio.create_task(one, name=f"{self.id} beside") for one in work]
        for task in tasks:
            task.add_done_callback(self._note_error)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _note_error(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("run %s", self.id, exc_info=error)
            self._note_fault(Fault.from_exception(error, component="orchestrator"))

    async def _notify_hosts(self, frame: Callable[[HostHandle], node_pb2.HostRequest]) -> None:
        """Sends a frame to every host, at once: none waits for another. That of this process, which would keep the loop busy, is
        the last."""
        hosts = sorted(self._hosts.values(), key=lambda host: host.server == LOCAL)
        await asyncio.gather(*(host.send(frame(host)) for host in hosts))

    def _host_finished(self, host: HostHandle, answer: asyncio.Future[list[Fault]]) -> None:
        """A host has finished, or is lost: none of its nodes goes on, whatever it has told. One that left the run is made up for
        elsewhere."""
        if not host.started or host not in self._hosts.values():
            return
        if not self._stopping.is_set():
            self._may_go_on({host.server: answer.result()})
        for instance in host.place.instances:
            self._note_end(instance.component)

    async def _all(
        self,
        hosts: Mapping[str, HostHandle],
        phase: Callable[[HostHandle], asyncio.Future[list[Fault]]],
        seconds: float,
        what: str,
    ) -> dict[str, list[Fault]]:
        """Waits until every host has answered a phase, or the run is to stop. Returns the faults of each that has."""
        answers = [phase(host) for host in hosts.values()]
        try:
            async with asyncio.timeout(seconds):
                await self._until(answers)
        except TimeoutError:
            silent = ", ".join(host.server for host in hosts.values() if not phase(host).done())
            message = f"{silent} did not {what} within {seconds:g} s"
            raise LanemeshError(Fault(code=Code.DEADLINE_EXCEEDED, reason="phase-timeout", message=message)) from None
        return {
            host.server: answer.result() for host, answer in zip(hosts.values(), answers, strict=True) if answer.done()
        }

    def _may_go_on(self, faults: Mapping[str, list[Fault]]) -> bool:
        """Notes what hosts have answered. Returns whether the run may go on."""
        for found in faults.values():
            for fault in found:
                self._note_fault(fault)
        return not self._faults and not self._stopping.is_set()

    async def _release_helpers(self, hosts: Mapping[str, HostHandle]) -> None:
        """Helpers serve nodes on other servers, which alone cannot know when all of them have ended."""
        await self._all_ended.wait()
        await self._notify_hosts(lambda _: node_pb2.HostRequest(release_helpers=node_pb2.ReleaseHelpers()))
        await asyncio.sleep(LINGER_SECONDS)
        for host in hosts.values():
            if not host.finished.done():
                self._note_fault(
                    bad_server(host.server, f"all nodes had ended for {LINGER_SECONDS:g} s, and it did not finish")
                )

    def _going_on(self, hosts: Mapping[str, HostHandle]) -> list[asyncio.Future[Any]]:
        """What has yet to end, before the run has."""
        if self._stopping.is_set():
            return []
        ends: list[asyncio.Future[Any]] = [host.finished for host in hosts.values()]
        if self._recovery.task is not None:
            ends.append(self._recovery.task)
        return [end for end in ends if not end.done()]

    async def _until(self, answers: Sequence[asyncio.Future[Any]], *, first: bool = False) -> None:
        """Waits until all of these are there, or the first of them, or until the run is to stop."""
        stopping = asyncio.create_task(self._stopping.wait())
        waiting: set[asyncio.Future[Any]] = {answer for answer in answers if not answer.done()}
        try:
            while waiting and not stopping.done():
                done, _ = await asyncio.wait([*waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
                waiting = set() if first else waiting - done
        finally:
            stopping.cancel()

    async def _on_update(self, update: update_pb2.Update) -> None:
        """Takes in what a host tells. Progress waits while clients are behind, log lines are left out then, and so are traces that
        nobody reads."""
        kind = update.WhichOneof("kind")
        self._secrets.hide(update)  # also those that a node server of another make has not, or of a component elsewhere
        if kind == "log":
            self._lines.report(update)
            return
        if kind == "trace":
            await self._trace(update)
            return
        self._offsets.apply(update)
        self._deadlocks.observe(update)
        if kind in ("progress", "tool"):
            await self.log.room()
        self._steps.take(update)
        self.log.append(update)
        if kind != "node" or update.node.state not in ENDED:
            return
        if update.node.state == update_pb2.NODE_STATE_FAILED:
            self._note_fault(Fault.from_proto(update.node.error))
        elif update.node.state == update_pb2.NODE_STATE_CANCELLED and not self._stopping.is_set():
            self._note_fault(_cancelled_elsewhere(update.node))
        self._note_end(update.node.component)

    def _note_end(self, component: str) -> None:
        self._going.discard(component)
        if not self._going:
            self._all_ended.set()

    async def _trace(self, update: update_pb2.Update) -> None:
        if self._traces is None:
            from lanemesh.server.host.taps import TapLines

            self._traces = TapLines(self.log.offer)
        if update.trace.edge_id in self._controls:
            self._secrets.hide_call(update.trace)  # its node server knows the secrets of its own components alone
        if self.owned:
            await self.log.room()
        self._traces.report(update)

    def _on_lost(self, host: HostHandle, fault: Fault) -> None:
        """A server is lost that had started. What it ran is placed again, unless the run ends anyway."""
        if self._stopping.is_set():
            self._note_fault(fault)
        else:
            self._recovery.lost(host, fault, self._going, failing=bool(self._faults))

    def _time_left(self) -> float | None:
        if self._ends_at is None:
            return None
        return max(0.001, self._ends_at - asyncio.get_running_loop().time())

    def _note_fault(self, fault: Fault) -> None:
        """Keeps a fault. What goes wrong after a cancellation is its consequence."""
        if self._cancelled_because is not None:
            return
        fault = self._secrets.fault(fault)
        self._steps.fault(fault)
        self._faults.append(fault)
        if not fault.secondary:
            self._stopping.set()
        elif self._awaiting_primary is None:
            self._awaiting_primary = asyncio.create_task(self._await_primary(), name=f"{self.id} primary fault")

    async def _await_primary(self) -> None:
        """Gives the primary fault, of which a secondary one is the consequence, time to arrive.

        A server that answers a probe has told every fault that it knew of before.
        """
        await asyncio.sleep(PRIMARY_SECONDS)
        await asyncio.gather(*(host.probe(SILENT_SECONDS) for host in self._hosts.values()))
        self._stopping.set()

    async def _stop(self, hosts: Mapping[str, HostHandle]) -> None:
        """Cancels what still runs and waits for every host, within a bound.

        If the run has failed, the targets of this process go last: what was sent to them before the failure is delivered.
        """
        self._stopping.set()
        self._inputs.stop()
        self.log.abandon()
        reason = self._cancelled_because or "the run has failed"
        elsewhere = asyncio.gather(*(host.stop(reason) for host in hosts.values() if host.server != LOCAL))
        try:
            if self._cancelled_because is None:
                await asyncio.wait([elsewhere], timeout=ON_THEIR_WAY_SECONDS)
        except asyncio.CancelledError:
            elsewhere.cancel()
            raise
        await asyncio.gather(elsewhere, *(host.stop(reason) for host in hosts.values() if host.server == LOCAL))

    def _end(self) -> None:
        for rest in [*self._lines.rests(), *(self._traces.rests() if self._traces is not None else ())]:
            self.log.append(rest)
        job = update_pb2.JobUpdate()
        cause = first_cause(self._faults)
        if self._cancelled_because is not None:
            job.state = update_pb2.RUN_STATE_CANCELLED
            job.reason = self.reason = self._secrets.hidden(self._cancelled_because)
        elif cause is not None:
            job.state = update_pb2.RUN_STATE_FAILED
            self.error = cause
            job.error.CopyFrom(cause.to_proto())
        else:
            job.state = update_pb2.RUN_STATE_COMPLETED
        self.state = job.state
        self.ended_at = time.time_ns()
        self._tell(self._with_inputs(job))
        self.log.close()
        self.ended.set()

    def _report_waiting(self, reason: str) -> None:
        self._tell(update_pb2.JobUpdate(state=update_pb2.RUN_STATE_STARTING, reason=reason))

    def _with_inputs(self, job: update_pb2.JobUpdate) -> update_pb2.JobUpdate:
        self._inputs.summarize(job, self._secrets)
        return job

    def _tell(self, job: update_pb2.JobUpdate) -> None:
        job.run_id = self.id
        update = update_pb2.Update(job=job)
        self._steps.take(update)
        self.log.append(update)


def _cancelled_elsewhere(node: update_pb2.NodeUpdate) -> Fault:
    """The fault of a node that was cancelled, though nobody has cancelled the run: its server may be stopping."""
    if node.HasField("error"):
        return Fault.from_proto(node.error)
    message = f"{node.component} was cancelled by its node server"
    details = {"component": node.component}
    return Fault(code=Code.CANCELLED, reason="cancelled", message=message, details=details, secondary=True)


def first_cause(faults: list[Fault]) -> Fault | None:
    """The first primary fault; among secondary ones a lost server says more than a lane that broke with it."""
    for fault in faults:
        if not fault.secondary:
            return fault
    return next((fault for fault in faults if fault.reason == "server-lost"), faults[0] if faults else None)
