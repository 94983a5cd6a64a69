"""Reports a hosted run to the orchestrator, coalesced: an edge at most ten times a second, firings at most twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.node.runtime.actor import Actor, Outcome, State
from lanemesh.redaction import Secrets
from lanemesh.server.host.log_lines import LogLines
from lanemesh.times import set_seconds, stamp
from lanemesh.v1 import node_pb2, update_pb2

if TYPE_CHECKING:
    from lanemesh.control.instance import HelperActivity, HelperInstance

EDGE_UPDATE_SECONDS = 0.1
"""Least time between two updates of one edge."""
FIRINGS_SECONDS = 0.5
"""Least time between two updates of a node's firing counts."""

Send = Callable[[node_pb2.HostResponse], Awaitable[None]]
TrySend = Callable[[node_pb2.HostResponse], bool]
"""Sends a response if there is capacity for it; returns whether there was."""


class RunReporter:
    """Reports the updates of one hosted part of a run."""

    def __init__(self, send: Send, try_send: TrySend, secrets: Secrets) -> None:
        """`secrets` are hidden in the updates of nodes."""
        self.incoming: list[Edge] = []
        """The edges that are reported: those that end here."""
        self.firing: dict[str, Actor] = {}
        """The actors whose firings are reported, by component, until they have ended."""
        self.lines = LogLines(self.try_send)
        """The log lines of nodes."""
        self._secrets = secrets
        self._send = send
        self._try_send = try_send
        self._reported_firings: dict[str, tuple[int, int, int]] = {}
        """The last reported firings of each component: all, skipped, retried."""
        self.helpers: Mapping[str, HelperInstance] = {}
        """The helpers that are reported, by component."""
        self._reported_activity: dict[str, HelperActivity] = {}
        """The last reported activity of each helper."""
        self._waiting: dict[str, str] = {}
        """What nodes wait for outside the run, by component."""
        self._unsent: set[str] = set()
        """Components whose state has changed since it was reported."""
        self._reported_edges: dict[str, tuple[int, int, bool, int, int]] = {}
        """The last reported state of each edge."""

    async def report(self, update: update_pb2.Update) -> None:
        """Sends an update; waits while the orchestrator is behind."""
        await self._send(node_pb2.HostResponse(update=update))

    def try_send(self, update: update_pb2.Update) -> bool:
        """Sends an update if the orchestrator is not behind. Returns whether it did."""
        return self._try_send(node_pb2.HostResponse(update=update))

    async def node(self, component: str, state: State, outcome: Outcome | None = None, server: str = "") -> None:
        """Reports the state of a node; `outcome` is its end, and `server` the server of that end."""
        node = update_pb2.NodeUpdate(component=component, state=f"NODE_STATE_{state.name}")  # type: ignore[arg-type]
        if outcome is not None:
            node.detail, node.firings = outcome.detail, outcome.firings
            node.skipped_firings, node.retried_firings = outcome.skipped, outcome.retried
            _set_times(node, outcome.seconds)
            if outcome.fault is not None:
                node.error.CopyFrom(outcome.fault.located(server=server).to_proto())
        update = update_pb2.Update(node=node)
        self._secrets.hide(update)
        stamp(update.time)
        await self.report(update)

    def waiting(self, component: str, detail: str) -> None:
        """Reports that a node waits for an event outside the run, which `detail` describes, or no longer (empty). While the
        orchestrator is behind, the latest such state is sent later."""
        if detail:
            self._waiting[component] = detail
        else:
            self._waiting.pop(component, None)
        self._unsent.add(component)
        self._report_states()

    def _report_states(self) -> None:
        for component in list(self._unsent):
            if component not in self.firing:  # it has ended
                self._unsent.discard(component)
                continue
            update = update_pb2.Update(node=self._present_state(component))
            self._secrets.hide(update)
            stamp(update.time)
            if not self.try_send(update):
                return
            self._unsent.discard(component)

    def _present_state(self, component: str) -> update_pb2.NodeUpdate:
        actor, detail = self.firing[component], self._waiting.get(component, "")
        state = update_pb2.NODE_STATE_WAITING if detail else update_pb2.NODE_STATE_RUNNING
        node = update_pb2.NodeUpdate(component=component, state=state, detail=detail)
        node.firings, node.skipped_firings, node.retried_firings = actor.counts
        _set_times(node, actor.waits.seconds())
        return node

    async def report_periodically(self, seconds: float) -> None:
        """Reports edges now and at this interval, and firings twice a second, until it is cancelled."""
        loop = asyncio.get_running_loop()
        firings_reported_at = loop.time() - seconds
        while True:
            await self.edges()
            self._report_states()
            if loop.time() >= firings_reported_at + FIRINGS_SECONDS:
                firings_reported_at = loop.time()
                self._report_firings()
                self._report_helpers()
            await asyncio.sleep(seconds)

    def _report_firings(self) -> None:
        """Reports the changed counts of firings. Skips them while the orchestrator is behind."""
        for component, actor in self.firing.items():
            counts = actor.counts
            if counts != self._reported_firings.get(component, (0, 0, 0)):
                update = update_pb2.Update(node=self._present_state(component))
                self._secrets.hide(update)
                stamp(update.time)
                if self.try_send(update):
                    self._reported_firings[component] = counts

    def _report_helpers(self) -> None:
        """Reports the changed activity of helpers. Skips it while the orchestrator is behind."""
        for component, helper in self.helpers.items():
            activity = helper.activity
            if (
                activity.calls
                and activity != self._reported_activity.get(component)
                and self.try_send(_helper_update(component, activity))
            ):
                self._reported_activity[component] = activity

    async def helpers_ended(self) -> None:
        """Reports the final activity of each helper that was called."""
        for component, helper in self.helpers.items():
            if helper.activity.calls:
                await self.report(_helper_update(component, helper.activity))

    async def edges(self) -> None:
        """Reports the latest state of every edge that has changed since its last report."""
        for edge in self.incoming:
            drained = (edge.ended or edge.stopped) and not edge.buffered_items
            now = (edge.arrived, edge.taken, drained, edge.limit_items, edge.limit_bytes)
            if self._reported_edges.get(edge.id) == now:
                continue
            self._reported_edges[edge.id] = now
            state = update_pb2.EdgeUpdate(
                edge_id=edge.id,
                sent=edge.resumed_from + edge.arrived,
                consumed=edge.resumed_from + edge.taken,
                buffered=edge.buffered_items,
                drained=drained,
                limit_items=edge.limit_items,
            )
            update = update_pb2.Update(edge=state)
            stamp(update.time)
            await self.report(update)


def _set_times(node: update_pb2.NodeUpdate, seconds: tuple[float, float, float]) -> None:
    for field, spent in zip((node.waiting, node.busy, node.blocked), seconds, strict=True):
        set_seconds(field, spent)


def _helper_update(component: str, activity: HelperActivity) -> update_pb2.Update:
    update = update_pb2.Update()
    helper = update.helper
    helper.component, helper.calls = component, activity.calls
    helper.active_calls, helper.failed_calls = activity.active, activity.failed
    if activity.prompt_tokens or activity.completion_tokens:
        helper.usage.prompt_tokens = activity.prompt_tokens
        helper.usage.completion_tokens = activity.completion_tokens
        if activity.cost:
            helper.usage.cost = activity.cost
    stamp(update.time)
    return update
