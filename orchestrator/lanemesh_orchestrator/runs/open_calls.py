"""The calls of agents that have no result yet. Each gets exactly one, also if its agent or the agent's server is lost. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

from lanemesh.times import stamp
from lanemesh.v1 import update_pb2

MAX_OPEN = 10_000
"""Most calls of one run without a result that are remembered. Further ones get a result from their agent only."""
MAX_NAME = 200
"""Most characters of the name of a tool in a result that its agent has not sent."""


class OpenCalls:
    """The calls of one run that have no result yet."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], tuple[str, int]] = {}
        """Tool and wave of each call, by component and id."""

    def take(self, tool: update_pb2.ToolUpdate) -> None:
        """Takes in an event of an agent."""
        match tool.WhichOneof("event"):
            case "call" if len(self._open) < MAX_OPEN:
                self._open[tool.component, tool.call.id] = tool.call.name[:MAX_NAME], tool.wave
            case "result":
                self._open.pop((tool.component, tool.result.call_id), None)

    def ended(self, components: Collection[str] | None = None) -> Iterator[update_pb2.Update]:
        """The results, which are failures, of the open calls of components that have ended; None: of all."""
        for key in [key for key in self._open if components is None or key[0] in components]:
            component, call_id = key
            name, wave = self._open.pop(key)
            update = update_pb2.Update()
            tool = update.tool
            tool.component, tool.wave = component, wave
            tool.result.call_id, tool.result.name, tool.result.is_error = call_id, name, True
            message = f"{component} ended before this call had a result"
            tool.result.content_json = json.dumps({"error": message, "reason": "agent-ended"})
            stamp(update.time)
            yield update
