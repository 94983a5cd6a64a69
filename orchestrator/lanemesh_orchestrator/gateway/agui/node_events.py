"""The nodes of a run as steps, and as the state of the agent. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ag_ui.core import BaseEvent, StateDeltaEvent, StateSnapshotEvent, StepFinishedEvent, StepStartedEvent
from lanemesh.client.updates import NodeState, NodeUpdate

MAX_NODES = 1_000
"""Most nodes in the state; the updates of the run have them all."""

ENDED = frozenset({NodeState.COMPLETED, NodeState.SKIPPED, NodeState.FAILED, NodeState.CANCELLED})
"""The last states of a node."""


class NodeEvents:
    """The nodes of one run: a step for each that runs, and the state of each under "/lanemesh/nodes"."""

    def __init__(self, run_id: str, state: Any) -> None:
        """`state`: that of the client, whose other members are kept. Unless it is an object or absent, there are no events of
        the state."""
        self._run_id = run_id
        self._given: Mapping[str, Any] | None = {} if state is None else state if isinstance(state, Mapping) else None
        self._nodes: dict[str, str] = {}
        self._steps: dict[str, None] = {}

    def read(self, update: NodeUpdate) -> Iterator[BaseEvent]:
        """The events of a node's new state."""
        name, state = update.component, update.state
        if state is NodeState.RUNNING and name not in self._steps:
            self._steps[name] = None
            yield StepStartedEvent(step_name=name)
        yield from self._delta(name, state.value)
        if state in ENDED and name in self._steps:
            del self._steps[name]
            yield StepFinishedEvent(step_name=name)

    def snapshot(self) -> Iterator[BaseEvent]:
        """The state as a whole."""
        if self._given is not None:
            own = {"run_id": self._run_id, "nodes": dict(self._nodes)}
            yield StateSnapshotEvent(snapshot={**self._given, "lanemesh": own})

    def pause(self) -> Iterator[BaseEvent]:
        """Ends the steps for now."""
        return (StepFinishedEvent(step_name=name) for name in self._steps)

    def resume(self) -> Iterator[BaseEvent]:
        """Begins the steps again."""
        return (StepStartedEvent(step_name=name) for name in self._steps)

    def _delta(self, name: str, state: str) -> Iterator[BaseEvent]:
        known = self._nodes.get(name)
        if known == state or (known is None and len(self._nodes) >= MAX_NODES):
            return
        self._nodes[name] = state
        if self._given is not None:
            path = "/lanemesh/nodes/" + name.replace("~", "~0").replace("/", "~1")
            change = {"op": "add" if known is None else "replace", "path": path, "value": state}
            yield StateDeltaEvent.model_validate({"delta": [change]})
