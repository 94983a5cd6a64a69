"""Routes the updates of a run to its log (for its owner, watchers and the store), to the deadlock monitor and to the verdict."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from lanemesh.codec import encode_into
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import Feature
from lanemesh.items import ABSENT, Item, LaneType
from lanemesh.reasons import Reason
from lanemesh.redaction import Secrets
from lanemesh.server.host.log_lines import LogLines, log_update
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.pipeline import Graph, ServerAddress
from lanemesh_orchestrator.runs.host_handle import ENDED
from lanemesh_orchestrator.runs.open_calls import OpenCalls
from lanemesh_orchestrator.runs.update_log import UpdateLog
from lanemesh_orchestrator.runs.verdict import Verdict

if TYPE_CHECKING:
    from lanemesh.server.host.taps import TapLines

    from lanemesh_orchestrator.runs.counter_offsets import CounterOffsets
    from lanemesh_orchestrator.runs.steps import Steps


class UpdateRouter:
    """Routes the reports of hosts, the outputs of targets and the states of the run.

    Appends them to the log. Log lines and traces are dropped and counted while readers lag behind. Faults of nodes go to the
    verdict.
    """

    def __init__(
        self,
        run_id: str,
        graph: Graph,
        log: UpdateLog,
        verdict: Verdict,
        observe: Callable[[update_pb2.Update], None],
        *,
        secrets: Secrets,
        owned: bool,
        is_local: bool = False,
        steps: Steps | None = None,
        max_output: int = 0,
    ) -> None:
        """Creates a router to a log and a verdict.

        Args:
            run_id: included in updates of the state of the run.
            graph: the pipeline.
            log: keeps the updates.
            verdict: gets the faults of nodes.
            observe: the deadlock monitor; it may complete updates of edges.
            secrets: the values that are removed from reports of hosts.
            owned: whether the caller of the run reads its log, so that traces wait for it.
            is_local: whether this process runs all components, so that none is placed again.
            steps: logs the steps of the run.
            max_output: most bytes of one output; 0: no limit.
        """
        self.output_count = 0
        """Number of items that have reached a target."""
        self.going = {component.id for component in graph.components.values() if not component.helper}
        """Components whose end is not reported yet, helpers aside."""
        self.all_ended = asyncio.Event()
        """Set when `going` is empty."""
        self.on_approval: Callable[[update_pb2.Update], None] | None = None
        """Takes the requests and withdrawals of approvals, and appends them to the log."""
        self.on_all_ended: Callable[[], None] | None = None
        """Called once when all components have ended."""
        self._run_id = run_id
        self._log = log
        self._verdict = verdict
        self._observe = observe
        self._secrets = secrets
        self._owned = owned
        self._max_output = max_output
        self._steps = steps
        self._offsets: CounterOffsets | None = None
        if not is_local:
            from lanemesh_orchestrator.runs.counter_offsets import CounterOffsets

            self._offsets = CounterOffsets(graph.edges)
        self._result_names = {one.id: one.result_name for one in graph.components.values() if one.result_name}
        self._is_traced = graph.trace != "none"
        self._controls = {shape.edge_id for shape in graph.shapes() if shape.class_type}
        self._open_calls = OpenCalls()
        self._lines = LogLines(log.offer)
        self._traces: TapLines | None = None

    async def report(self, update: update_pb2.Update) -> None:
        """Routes an update of a host. Progress waits while readers lag behind; log lines, and traces of a run without an owner, are
        dropped then."""
        kind = update.WhichOneof("kind")
        self._secrets.hide(update)  # a node server may not redact, or may not know the secrets of other components
        if kind == "log":
            self._lines.report(update)
            return
        if kind == "trace":
            await self._trace(update)
            return
        if self._offsets is not None:
            self._offsets.apply(update)
        self._observe(update)
        if kind in ("progress", "tool", "approval"):
            await self._log.wait_for_capacity()
        if kind == "approval":
            if self.on_approval is not None:
                self.on_approval(update)
            return
        self._append(update)
        if kind == "tool":
            self._open_calls.take(update.tool)
        elif kind == "node" and update.node.state in ENDED:
            self._judge(update.node)
            self.node_ended(update.node.component)

    async def capacity(self) -> tuple[int, int]:
        """Waits while readers lag behind. Returns the numbers of items and of bytes that `deliver` may pass on then."""
        return await self._log.capacity()

    def deliver_texts(self, component: str, port: str, texts: list[str]) -> None:
        """Delivers text items without envelopes to the client, within the capacity."""
        if self._steps is not None:
            self._steps.delivered(component)
        self.output_count += len(texts)
        self._log.append_texts(component, port, texts, self._result_names.get(component, ""))

    def deliver(self, component: str, port: str, lane: str, item: Item) -> None:
        """Delivers an item of a target to the client, within the capacity. Raises LanemeshError ("message-too-large") if the client
        could not get it in a message; the updates before are delivered."""
        update = update_pb2.Update()
        output = update.output
        output.component, output.port, output.name = component, port, self._result_names.get(component, "")
        encode_into(output.item, LaneType(lane), item)
        if self._max_output and (size := update.ByteSize()) > self._max_output:
            raise _too_large(component, port, size, self._max_output)
        if item.value is not ABSENT:
            self.output_count += 1
        self._append(update)

    def report_state(self, job: update_pb2.JobUpdate) -> None:
        """Appends an update of the state of the run."""
        job.run_id = self._run_id
        self._append(update_pb2.Update(job=job))

    def report_running(self, components: Iterable[str]) -> None:
        """Appends that components are running, which their servers do not report."""
        for component in components:
            update = update_pb2.Update()
            update.node.component, update.node.state = component, update_pb2.NODE_STATE_RUNNING
            self._append(update)

    def warn_of_untraced(self, servers: Mapping[str, ServerAddress]) -> None:
        """Logs a warning for each component on a server without the feature "traces", if the run requests traces."""
        if self._is_traced:
            for name, server in servers.items():
                if Feature.TRACES not in server.features:
                    warning = f'the node server "{server.name}" lacks the feature "traces": items that reach {name} are not traced'
                    self._log.append(log_update(name, logging.WARNING, warning))

    def node_ended(self, component: str) -> None:
        """Marks a component as ended, whether or not its end was reported."""
        self.end_calls((component,))
        self.going.discard(component)
        if not self.going and not self.all_ended.is_set():
            self.all_ended.set()
            if self.on_all_ended is not None:
                self.on_all_ended()

    def end_calls(self, components: Collection[str]) -> None:
        """Appends results for the calls of components that have ended, or whose server is lost, without them."""
        for update in self._open_calls.ended(components):
            self._append(update)

    def placed_again(self, components: Collection[str]) -> None:
        """Adjusts the counters of components that count from 0 on their new servers."""
        if self._offsets is not None:
            self._offsets.placed_again(components)

    def close(self, job: update_pb2.JobUpdate) -> None:
        """Appends results for calls without them, the numbers of dropped log lines and traces, then the terminal update, and
        closes the log."""
        for result in self._open_calls.ended():
            self._append(result)
        for rest in [*self._lines.rests(), *(self._traces.rests() if self._traces is not None else ())]:
            self._log.append(rest)
        self.report_state(job)
        self._log.close()

    def append(self, update: update_pb2.Update) -> None:
        """Appends an update of the orchestrator itself."""
        self._append(update)

    def _append(self, update: update_pb2.Update) -> None:
        if self._steps is not None:
            self._steps.take(update)
        self._log.append(update)

    def _judge(self, node: update_pb2.NodeUpdate) -> None:
        if node.state == update_pb2.NODE_STATE_FAILED:
            self._verdict.add(Fault.from_proto(node.error))
        elif node.state == update_pb2.NODE_STATE_CANCELLED and not self._verdict.stopping.is_set():
            self._verdict.add(_cancelled_elsewhere(node))

    async def _trace(self, update: update_pb2.Update) -> None:
        if self._traces is None:
            from lanemesh.server.host.taps import TapLines

            self._traces = TapLines(self._log.offer)
        if update.trace.edge_id in self._controls:
            self._secrets.hide_call(update.trace)  # its node server knows only the secrets of its own components
        if self._owned:
            await self._log.wait_for_capacity()
        self._traces.report(update)


def _too_large(component: str, port: str, size: int, limit: int) -> LanemeshError:
    message = (
        f'{component}: an item of "{port}" has {size:,} bytes, and a client gets at most {limit:,} in one output. '
        "Let the pipeline deliver large files in pieces of a group or media with a `uri`, or write them by `file_writer`"
    )
    details = {"component": component, "port": port}
    return LanemeshError(
        Fault(code=Code.RESOURCE_EXHAUSTED, reason=Reason.MESSAGE_TOO_LARGE, message=message, details=details)
    )


def _cancelled_elsewhere(node: update_pb2.NodeUpdate) -> Fault:
    """The fault of a node that was cancelled although the run was not. Its server may be stopping."""
    if node.HasField("error"):
        return Fault.from_proto(node.error)
    message = f"{node.component} was cancelled by its node server"
    details = {"component": node.component}
    return Fault(code=Code.CANCELLED, reason="cancelled", message=message, details=details, secondary=True)
