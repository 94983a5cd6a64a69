"""What a host may tell of a run: of what it was given, each end once. All else is a fault of the server, and is not passed on."""

from __future__ import annotations

from lanemesh.protocol import control_edge_id
from lanemesh.v1 import node_pb2, update_pb2

ENDED = frozenset(
    {
        update_pb2.NODE_STATE_COMPLETED,
        update_pb2.NODE_STATE_SKIPPED,
        update_pb2.NODE_STATE_FAILED,
        update_pb2.NODE_STATE_CANCELLED,
    }
)
"""States in which a node has ended."""


class UpdateValidator:
    """Judges what one host tells."""

    def __init__(self, place: node_pb2.Place) -> None:
        """`place` is what it was given."""
        self._components = {instance.component for instance in place.instances}
        self._arriving = {edge.id for edge in place.edges if edge.consumer in self._components}
        self._controls = {
            control_edge_id(control.invoker, control.helper, control.class_type, control.name)
            for control in place.controls
        }
        self.going = {instance.component for instance in place.instances if not instance.helper}
        """Components whose end it has not told yet."""

    def violation(self, update: update_pb2.Update) -> str:
        """What is wrong with an update, in words; empty if it may be passed on."""
        kind = update.WhichOneof("kind")
        match kind:
            case "node":
                return self._flaw_of_node(update.node)
            case "trace" if update.trace.edge_id in self._controls:
                return ""
            case "edge" | "trace":
                edge = update.edge.edge_id if kind == "edge" else update.trace.edge_id
                return "" if edge in self._arriving else f'the edge "{edge}", which does not end there'
            case "progress" | "tool" | "log" | "helper":
                return self._flaw_of_component(getattr(update, kind).component)
            case _:
                return f"an update of the kind {kind or 'unknown'}, which is not for it to send"

    def _flaw_of_node(self, node: update_pb2.NodeUpdate) -> str:
        violation = self._flaw_of_component(node.component)
        if node.HasField("placement"):
            return "a placement, which is not for it to send"
        if not violation and node.state in ENDED:
            if node.component not in self.going:
                return f'a further end of "{node.component}"'
            self.going.discard(node.component)
        return violation

    def _flaw_of_component(self, component: str) -> str:
        return "" if component in self._components else f'the component "{component}", which it was not given'
