"""The components of a run with items that no server keeps: their producer was lost after it had sent them, and does not send them
again."""

from __future__ import annotations

from collections.abc import Collection

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.reasons import Reason

from lanemesh_orchestrator.pipeline import Graph
from lanemesh_orchestrator.pipeline.recovery import consumers_beyond, delivered_unkept


class Unkept:
    """The present ones. They cannot be placed again."""

    def __init__(self, graph: Graph) -> None:
        """`graph` is the pipeline of the run."""
        self._graph = graph
        self._producers: dict[str, str] = {}
        """One of their lost producers each."""

    def delivered(self, missing: Collection[str], done: Collection[str]) -> set[str]:
        """The missing components that need not be placed again, because all outputs of those with unkept items have arrived, and of
        those that these outputs have passed through.

        Args:
            missing: the components whose server is lost.
            done: the edges that need no other end.

        Raises:
            LanemeshError: a component would have to process items again that no server keeps.
        """
        found = delivered_unkept(self._graph, missing, done, self._producers)
        for name in missing:
            producer = self._producers.get(name)
            if producer is not None and name not in found:
                message = f"{name} has not processed all items that {producer} sent before it was lost, and no server keeps them"
                details = {"component": name}
                raise LanemeshError(
                    Fault(code=Code.UNAVAILABLE, reason=Reason.NOT_KEPT, message=message, details=details)
                )
        return found

    def beyond(self, producers: Collection[str], done: Collection[str]) -> set[str]:
        """The other components that have all items of one of these lost producers: their edge is `done`."""
        return {*consumers_beyond(self._graph, producers, done)}

    def add(self, producers: Collection[str], done: Collection[str]) -> None:
        """Adds the components `beyond` these producers, which do not send again what they had sent."""
        self._producers |= consumers_beyond(self._graph, producers, done)
