"""The waits of a component for GPU leases: reported to the run's clients, and known to its times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lanemesh.node.waits import Waits
from lanemesh.times import seconds_of, span

if TYPE_CHECKING:
    from lanemesh.server.host.reporting import RunReporter
    from lanemesh.v1 import gpu_pb2

WHAT = "a GPU lease"
"""What the component waits for, in its waits."""


class LeaseWaits:
    """Reports the state `waiting` of one component while one of its leases waits, with position, estimate and reason."""

    def __init__(self, component: str, waits: Waits, reporter: RunReporter) -> None:
        self._component = component
        self._waits = waits
        self._reporter = reporter
        self._waiting = False

    def report(self, queued: gpu_pb2.LeaseQueued | None) -> None:
        """Takes the foremost of its waiting leases; None: it waits for none any more."""
        if (queued is not None) is not self._waiting:
            self._waiting = queued is not None
            if self._waiting:
                self._waits.begin_outside(WHAT)
            else:
                self._waits.end_outside(WHAT)
        self._reporter.waiting(self._component, "" if queued is None else text_of(queued))


def text_of(queued: gpu_pb2.LeaseQueued) -> str:
    """A wait for a lease in words."""
    eta = f", about {span(seconds_of(queued.eta))}" if queued.HasField("eta") else ""
    return f"waits for a GPU at position {queued.position}{eta}: {queued.reason}"
