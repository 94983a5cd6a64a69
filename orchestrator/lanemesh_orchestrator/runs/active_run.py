"""One active run: it is placed, connected, started and supervised, and ends in exactly one terminal state."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from lanemesh._grpc.traceparent import fresh_traceparent
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.context import ClientInput, ClientLink
from lanemesh.v1 import node_pb2, run_pb2, update_pb2

from lanemesh_orchestrator.deadlock.monitor import DeadlockMonitor
from lanemesh_orchestrator.pipeline import Graph
from lanemesh_orchestrator.runs import phases
from lanemesh_orchestrator.runs.host_connection import HostConnection
from lanemesh_orchestrator.runs.host_handle import HostHandle
from lanemesh_orchestrator.runs.hosts import RunHosts
from lanemesh_orchestrator.runs.inputs import RunInputs
from lanemesh_orchestrator.runs.run_ends import RunEnds
from lanemesh_orchestrator.runs.run_options import RunOptions
from lanemesh_orchestrator.runs.update_log import UpdateLog
from lanemesh_orchestrator.runs.update_router import UpdateRouter
from lanemesh_orchestrator.runs.verdict import PRIMARY_SECONDS, Verdict
from lanemesh_orchestrator.scheduling.admission import Ticket
from lanemesh_orchestrator.scheduling.assignment import Assignment

if TYPE_CHECKING:
    from lanemesh_orchestrator.runs.approvals import RunApprovals
    from lanemesh_orchestrator.runs.recovery import Recovery
    from lanemesh_orchestrator.runs.steps import Steps

_NUMBERS = itertools.count(1)

logger = logging.getLogger("lanemesh.runs")

Dial = Callable[[str, ClientLink], HostConnection]
"""Opens the connection to a node server by its name. The link to the client is for the boundary nodes of the run. Raises
LanemeshError if the server has left."""


class ActiveRun:
    """One run. Its log records every event; the terminal update is the last."""

    def __init__(
        self,
        run_id: str,
        graph: Graph,
        log: UpdateLog,
        assignment: Assignment,
        ticket: Ticket,
        dial: Dial,
        options: RunOptions,
    ) -> None:
        """Creates a run; `execute` runs it. `assignment` selects the server of each component, `ticket` admits it to its set-up."""
        self.id = run_id
        self.graph = graph
        self.log = log
        self.owned = options.owned
        self.traceparent = options.traceparent or fresh_traceparent()
        """Its trace, in the format of W3C Trace Context."""
        self.state: update_pb2.RunState.ValueType = update_pb2.RUN_STATE_STARTING
        self.number = next(_NUMBERS)
        """Later runs of this process have larger numbers."""
        self.created_at = time.time_ns()
        """Time of the request, in nanoseconds since 1970."""
        self.started_at = 0
        """Start time of its nodes, in nanoseconds since 1970; 0: not started."""
        self.ended_at = 0
        """End time, in nanoseconds since 1970; 0: not ended."""
        self.error: Fault | None = None
        """The first primary fault, if the run has failed."""
        self.reason = ""
        """The reason of its cancellation; empty: not cancelled."""
        self._placements: Sequence[update_pb2.Placement] = ()
        self.on_stopped: Callable[[], None] | None = None
        """Called once when every node has stopped, before the terminal update."""
        self.ended = asyncio.Event()
        """Set after the terminal update."""
        self._timeout = options.timeout if options.timeout is not None else graph.timeout
        self._ends_at: float | None = None
        """Its deadline, by the clock of the event loop."""
        self._assignment = assignment
        self._ticket = ticket
        self._dial = dial
        self._recovery: Recovery | None = None
        """Created when the first server is lost."""
        self._can_recover = any(component.manifest.restartable for component in graph.components.values())
        self._some_finished = asyncio.Event()
        """Set when a host has finished or is lost."""
        self._steps: Steps | None = None
        if logger.isEnabledFor(logging.DEBUG):
            from lanemesh_orchestrator.runs.steps import Steps

            self._steps = Steps(run_id)
        self._secrets = graph.secrets()
        self._inputs = RunInputs(run_id, graph.source, graph.source_outputs, options.conversation)
        self._hosts = RunHosts(
            run_id,
            graph,
            self._open_host,
            traceparent=self.traceparent,
            session=options.session,
            depth=options.depth,
            steps=self._steps,
        )
        self._verdict = Verdict(run_id, self._secrets, self._hosts.probe, self._steps)
        self._ends = RunEnds(self._hosts, self._verdict, self._recovering)
        self._deadlocks = DeadlockMonitor(run_id, graph, log.append, self._verdict.add)
        self._router = UpdateRouter(
            *(run_id, graph, log, self._verdict, self._deadlocks.observe),
            secrets=self._secrets,
            owned=options.owned,
            is_local=assignment.is_local,
            steps=self._steps,
            max_output=options.max_output,
        )
        self._approvals: RunApprovals | None = None
        """Created when the first approval is requested."""
        self._router.on_approval = self._take_approval
        self._router.on_all_ended = self._ends.linger
        # The ClientLink of the boundary nodes
        self.inputs = self._inputs.take
        self.capacity = self._router.capacity
        self.deliver = self._router.deliver
        self.deliver_texts = self._router.deliver_texts

    @property
    def deployment(self) -> str:
        """The name of its deployment; empty if it has none."""
        return self.graph.deployment

    @property
    def deployment_version(self) -> int:
        """The version of its deployment."""
        return self.graph.deployment_version

    @property
    def output_count(self) -> int:
        """Number of items that have reached a target."""
        return self._router.output_count

    @property
    def placements(self) -> Collection[update_pb2.Placement]:
        """The server of each component, with its earlier lost servers; empty until the nodes are started."""
        return self._placements if self._recovery is None else self._recovery.placements.values()

    @property
    def approvals(self) -> Sequence[update_pb2.ApprovalUpdate]:
        """The approvals for which its components wait, the oldest first."""
        return self._approvals.pending if self._approvals is not None else ()

    # Operations of clients

    def begin(self, given: Iterable[run_pb2.RunInput | ClientInput], *, end: bool) -> None:
        """Enqueues the first inputs of a detached run, all at once. `end`: no more input follows.

        Raises:
            LanemeshError: the pipeline has no client-fed source, or an item is no valid value.
        """
        self._inputs.begin(given, end=end)

    async def push(self, *given: run_pb2.RunInput, end: bool = False) -> None:
        """Enqueues inputs for the source, in order; waits while the queue is full. `end`: no more input follows.

        Raises:
            LanemeshError: the pipeline has no client-fed source, its input or the run itself has ended, or an item is no
                valid value; no input is enqueued in this case.
        """
        await self._inputs.push(given, end=end)

    def cancel(self, reason: str) -> None:
        """Cancels the run, unless it is already ending."""
        if self._verdict.cancel(reason):
            self._inputs.stop()

    async def decide(self, request: run_pb2.DecideApprovalRequest) -> None:
        """Decides an approval for which a component waits.

        Raises:
            LanemeshError: no such approval is pending, or the run is ending.
        """
        from lanemesh_orchestrator.runs.approvals import ended_error, unknown_error

        if self._verdict.stopping.is_set():
            raise ended_error(self.id)
        if self._approvals is None:
            raise unknown_error(self.id, request.call_id)
        await self._approvals.decide(request)

    def _take_approval(self, update: update_pb2.Update) -> None:
        if self._approvals is None:
            from lanemesh_orchestrator.runs.approvals import RunApprovals

            self._approvals = RunApprovals(self.id, self._router.append, self._send_decision)
        self._approvals.take(update)

    async def _send_decision(self, decision: node_pb2.ApprovalDecision) -> None:
        for host in list(self._hosts):
            if any(instance.component == decision.component for instance in host.place.instances):
                await host.send(node_pb2.HostRequest(decide=decision))

    def fail(self, fault: Fault) -> None:
        """Fails the run with an external fault, unless it has ended."""
        if not self.ended.is_set():
            self._verdict.add(fault)

    # Execution

    async def execute(self) -> None:
        """Executes the run up to its terminal update."""
        verdict = self._verdict
        self._router.report_state(update_pb2.JobUpdate(state=update_pb2.RUN_STATE_STARTING))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeout) as deadline:
                    self._ends_at = deadline.when()
                    if await self._place():
                        await self._run()
            if deadline.expired():
                verdict.add(await self._timed_out())
        except LanemeshError as error:
            verdict.add(error.fault)
        except asyncio.CancelledError:
            self.cancel("the orchestrator stops")
            raise
        except Exception as error:  # a fault of the orchestrator itself must end the run too
            logger.exception("run %s", self.id)
            verdict.add(Fault.from_exception(error, component="orchestrator"))
        finally:
            self._router.on_all_ended = None
            self._ends.close()
            await verdict.conclude()
            if self._recovery is not None:
                await self._recovery.stop()
            self._inputs.stop()
            self.log.end_pacing()
            await self._hosts.end(verdict.reason or "the run has failed", deliver=not verdict.reason)
            if self._approvals is not None:
                await self._approvals.close()
            if self.on_stopped is not None:
                self.on_stopped()
                self.on_stopped = None
            self._end()

    async def _place(self) -> bool:
        """Places the run and connects it. Uses other servers if some refuse or are lost, because no node has started. Returns
        whether the run may go on."""
        assignment, verdict = self._assignment, self._verdict
        while True:
            if assignment.waiting:
                await verdict.unless_stopping(assignment.ready(self._report_waiting))
            try:
                faults = await verdict.unless_stopping(self._place_once())
            finally:
                self._ticket.leave()
            if faults is None:
                return False
            if not any(faults.values()) or not assignment.refused(faults):
                verdict.add(*(fault for found in faults.values() for fault in found))
                return verdict.may_go_on
            await self._hosts.clear("the run is assigned to other servers")

    async def _place_once(self) -> phases.FaultsByServer:
        """Makes every server place its components and then connect, where it has to, once. Returns the faults by server."""
        await self._ticket.turn()
        try:
            self._hosts.add(await self._hosts.open(self._assignment.servers(), self._timeout))
        except LanemeshError as error:
            return {error.fault.details["server"]: [error.fault]}
        faults = await phases.place(self._hosts)
        if any(faults.values()):
            return faults
        return await phases.connect(self._hosts, loss_grace=PRIMARY_SECONDS)

    def _open_host(self, place: node_pb2.Place, server: str) -> HostHandle:
        connection = self._dial(server, self)
        host = HostHandle(server, connection, place, self._router.report, self._on_lost, self._deadlocks.stalled)
        host.finished.add_done_callback(partial(self._host_finished, host))
        return host

    async def _run(self) -> None:
        """Starts the nodes, and waits until all hosts have finished."""
        self._router.warn_of_untraced(self._assignment.servers())
        if self._steps is not None:
            self._steps.connected()
        self.state = update_pb2.RUN_STATE_RUNNING
        self.started_at = time.time_ns()
        self._placements, edges = self._assignment.placements(), self.graph.shapes()
        job = update_pb2.JobUpdate(state=self.state, placements=self._placements, edges=edges)
        self._inputs.summarize(job, self._secrets)
        self._router.report_state(job)
        for host in self._hosts:
            if host.place.merges_frames:
                self._router.report_running(one.component for one in host.place.instances if not one.helper)
        await phases.start(self._hosts)
        work = [self._deadlocks.watch(self._hosts)]
        if any(component.manifest.offers for component in self.graph.components.values()):
            work.append(self._release_helpers())
        if self._can_recover:
            from lanemesh_orchestrator.runs.ended_consumers import report_ended_consumers

            work.append(report_ended_consumers(self.graph, self._hosts, self._router.going, self._some_finished))
        async with phases.background(*work):
            await self._ends.wait()

    async def _release_helpers(self) -> None:
        """Releases helpers when all nodes have ended. No server can decide this alone, because helpers serve nodes of others."""
        await self._router.all_ended.wait()
        releasing = node_pb2.HostRequest(release_helpers=node_pb2.ReleaseHelpers())
        await phases.send_to_all([host for host in self._hosts if self._has_helpers(host)], lambda _: releasing)

    def _has_helpers(self, host: HostHandle) -> bool:
        """Whether a host keeps instances that serve others until they are released."""
        components = self.graph.components
        return any(components[instance.component].manifest.offers for instance in host.place.instances)

    def _host_finished(self, host: HostHandle, answer: asyncio.Future[list[Fault]]) -> None:
        """Handles a host that has finished or is lost: adds its faults and marks its nodes as ended. Ignores a host that recovery
        has removed from the run."""
        if not host.started or host.lost_unstarted or host not in self._hosts:
            return  # a loss before the start is reported by `phases.start`
        self._some_finished.set()
        if not self._verdict.stopping.is_set():
            self._verdict.add(*answer.result())
        self._end_waits(host)
        for instance in host.place.instances:
            self._router.node_ended(instance.component)

    def _end_waits(self, host: HostHandle) -> None:
        """Ends the approvals and the calls that the components of a host wait for."""
        components = {instance.component for instance in host.place.instances}
        if self._approvals is not None:
            self._approvals.withdraw(components)
        self._router.end_calls(components)

    def _on_lost(self, host: HostHandle, fault: Fault) -> None:
        """Handles the loss of a started server: places its components again, unless the run is ending."""
        self._end_waits(host)
        self._some_finished.set()
        if self._verdict.stopping.is_set():
            self._verdict.add(fault)
            return
        if self._recovery is None:
            from lanemesh_orchestrator.runs.recovery import Recovery

            self._recovery = Recovery(
                *(self.id, self.graph, self._assignment, self._hosts, self._router, self._verdict), self._time_left
            )
        self._recovery.lost(host, fault)

    def _recovering(self) -> asyncio.Task[None] | None:
        return self._recovery.task if self._recovery is not None else None

    def _time_left(self) -> float | None:
        if self._ends_at is None:
            return None
        return max(0.001, self._ends_at - asyncio.get_running_loop().time())

    async def _timed_out(self) -> Fault:
        """The fault of a run that has reached its timeout."""
        if self._assignment.waiting:
            return self._assignment.timed_out(self._timeout or 0.0).fault
        waits = await self._deadlocks.describe_waits(self._hosts)
        message = f"the run took longer than its timeout of {self._timeout:g} s" + (f": {waits}" if waits else "")
        return Fault(code=Code.DEADLINE_EXCEEDED, reason="timeout", message=message)

    def _end(self) -> None:
        """Appends the terminal update."""
        self.state, self.error, self.reason = self._verdict.state, self._verdict.cause, self._verdict.reason
        job = update_pb2.JobUpdate(state=self.state, reason=self.reason)
        if self.error is not None:
            job.error.CopyFrom(self.error.to_proto())
        self.ended_at = time.time_ns()
        self._inputs.summarize(job, self._secrets)
        self._router.close(job)
        self.ended.set()

    def _report_waiting(self, reason: str) -> None:
        self._router.report_state(update_pb2.JobUpdate(state=update_pb2.RUN_STATE_STARTING, reason=reason))
