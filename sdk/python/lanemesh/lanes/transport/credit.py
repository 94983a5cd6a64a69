"""The decision which frame the consumer end of a lane over gRPC sends to its producer next, over plain values. Pure.

Credit is granted by half windows: until then the producer has half a window to send, or the consumer half a window to take. If
the producer is out of credit and the node stops taking, the rest is granted after a short delay.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

PATIENCE_SECONDS = 0.002
"""How long credit under half a window is withheld from a producer that has none left."""

PROMPT_SECONDS = 0.05
"""Time limit for reports of arrived and committed items, on the lanes of recoverable nodes."""


class Reported(NamedTuple):
    """The counts that the last `accepted` or `credit` reported to the producer."""

    taken: int
    """Items of the edge that the node had taken; `base` of the edge before the first credit."""
    limit_items: int
    """Most items that may be in flight."""
    acknowledged: int = 0
    """Items of this lane that were committed at that time."""
    arrived: int = 0
    """Items of this lane that had arrived by then."""


class View(NamedTuple):
    """The state of a lane that a decision depends on. Counts of items are those of the edge unless stated otherwise."""

    reported: Reported
    arrived: int
    taken: int
    limit_items: int
    buffered_items: int
    ended: bool
    """The edge has ended."""
    stopped: bool
    """The node has stopped the edge."""
    drained: bool
    """The node no longer needs its producer."""
    refused: bool = False
    """The producer broke the protocol."""
    stop_sent: bool = False
    half_closed: bool = False
    """The producer sends nothing more."""
    holding_back: bool = False
    """The edge is at its byte limit. Further frames stay in the stream until the node takes items."""
    heartbeat_due: bool = False
    waited: bool = False
    """The wait of `PATIENCE_SECONDS` is over, and nothing has changed in it."""
    lane_acknowledged: int = 0
    """Items of this lane that are committed."""
    lane_arrived: int = 0
    """Items of this lane that have arrived."""
    report_age: float = 0.0
    """Seconds since the last `credit`."""

    @property
    def half_window(self) -> int:
        """Number of items taken since the last report at which credit is due. At least 1."""
        return max(1, self.limit_items // 2)

    @property
    def owed(self) -> int:
        """Items taken since the last report."""
        return self.taken - self.reported.taken

    @property
    def out_of_credit(self) -> bool:
        """The producer may send nothing until it gets further credit."""
        return self.arrived - self.reported.taken >= self.reported.limit_items

    @property
    def starved(self) -> bool:
        """The producer is out of credit, and there is credit to grant."""
        return self.owed > 0 and not self.ended and self.out_of_credit


class Send(Enum):
    """The next frame to write, or the end of writing."""

    REFUSAL = auto()
    """A `stop` with the violation of the protocol. No frame follows it."""
    HEARTBEAT = auto()
    STOP = auto()
    CREDIT = auto()
    NOTHING_MORE = auto()
    """The producer has half-closed, and there is nothing left to report to it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """There is nothing to write until a change."""

    taken: int
    """Total number of taken items that ends the wait."""
    seconds: float | None = None
    """The longest wait; None: no limit."""
    patience: bool = False
    """If nothing changes in so many seconds, the next view has `waited`."""


class CreditPolicy:
    """Decides for a lane between nodes that are not recoverable."""

    prompt = False
    """Whether arrivals are reported soon. If so, the reading half wakes the writing half."""

    def next(self, view: View) -> Send | Wait:
        """The next step. It depends only on `view`."""
        if view.refused:
            return Send.REFUSAL
        if view.heartbeat_due:
            return Send.HEARTBEAT
        if view.stopped and not view.stop_sent and not view.ended:
            return Send.STOP
        if view.half_closed and not view.buffered_items and (view.drained or view.stop_sent):
            return Send.NOTHING_MORE
        if self._has_news(view) or self._credit_is_due(view):
            return Send.CREDIT
        soon = view.holding_back or view.half_closed or view.out_of_credit
        wake_at = view.taken + 1 if soon else view.reported.taken + view.half_window
        if view.starved:
            return Wait(wake_at, PATIENCE_SECONDS, patience=True)
        return Wait(wake_at, self._longest_wait(view))

    def _credit_is_due(self, view: View) -> bool:
        if view.ended or view.stopped:
            return False
        grown = view.limit_items > view.reported.limit_items
        return grown or view.owed >= view.half_window or (view.starved and view.waited)

    def _has_news(self, view: View) -> bool:
        """There are counts to report without credit."""
        return False

    def _longest_wait(self, view: View) -> float | None:
        """After how many seconds there may be unreported counts without a wake-up."""
        return None


class RecoverableCreditPolicy(CreditPolicy):
    """Decides for a lane whose producer or consumer is recoverable. Counts of arrived and committed items are reported within 50
    ms, with or without credit, because the producer keeps every item until it is reported as committed."""

    prompt = True

    def _has_news(self, view: View) -> bool:
        if view.stop_sent or view.report_age < PROMPT_SECONDS:
            return False
        return (view.lane_acknowledged, view.lane_arrived) != (view.reported.acknowledged, view.reported.arrived)

    def _longest_wait(self, view: View) -> float | None:
        everything = min(view.reported.acknowledged, view.reported.arrived) >= view.lane_arrived
        return None if everything else PROMPT_SECONDS
