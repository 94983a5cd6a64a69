"""Logs the steps of a run at debug level: placements, first items, states of nodes, and faults."""

from __future__ import annotations

import logging

from lanemesh.faults import Fault
from lanemesh.v1 import node_pb2, update_pb2

logger = logging.getLogger("lanemesh.runs")


class Steps:
    """Logs the steps of one run, one line each, if the logger `lanemesh.runs` shows debug messages."""

    def __init__(self, run_id: str) -> None:
        self.enabled = logger.isEnabledFor(logging.DEBUG)
        """Whether anything is logged."""
        self._run_id = run_id
        self._moved: set[str] = set()
        self._states: dict[str, tuple[update_pb2.NodeState.ValueType, str]] = {}
        self._delivered = False

    def placing(self, server: str, place: node_pb2.Place) -> None:
        """Logs that a node server is requested to place components."""
        components = ", ".join(instance.component for instance in place.instances)
        self._log(f"{server} places {components}")

    def connected(self) -> None:
        """Logs that every lane is open and every helper is connected."""
        self._log("connected: every lane is open, every helper is reached")

    def fault(self, fault: Fault) -> None:
        """Logs a fault."""
        kind = "secondary fault" if fault.secondary else "fault"
        where = fault.details.get("component") or fault.details.get("server") or "the run"
        self._log(f"{kind} of {where}, which ends the run: {fault.reason}: {fault.message}")

    def take(self, update: update_pb2.Update) -> None:
        """Logs an update if it is a step of the run."""
        if not self.enabled:
            return
        match update.WhichOneof("kind"):
            case "job":
                job = update.job
                why = job.error.message if job.HasField("error") else job.reason
                self._log(f"{_word(update_pb2.RunState.Name(job.state))}{f': {why}' if why else ''}")
            case "node":
                self._node(update.node)
            case "edge" if update.edge.sent and update.edge.edge_id not in self._moved:
                self._moved.add(update.edge.edge_id)
                self._log(f"first item on {update.edge.edge_id}")
            case "output":
                self.delivered(update.output.component)

    def delivered(self, component: str) -> None:
        """Logs the first output of the run."""
        if not self._delivered:
            self._delivered = True
            self._log(f"first output by {component}")

    def _node(self, node: update_pb2.NodeUpdate) -> None:
        if self._states.get(node.component) == (node.state, node.detail):
            return
        self._states[node.component] = node.state, node.detail
        why = node.error.message if node.HasField("error") else node.detail
        text = f"{node.component} {_word(update_pb2.NodeState.Name(node.state))}"
        self._log(f"{text}: {why}" if why else text)

    def _log(self, what: str) -> None:
        if self.enabled:
            logger.debug("%s %s", self._run_id, " ".join(what.split()))


def _word(name: str) -> str:
    return name.rpartition("STATE_")[2].lower()
