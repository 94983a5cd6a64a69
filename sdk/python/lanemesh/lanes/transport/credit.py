"""What the consumer end of a lane over gRPC sends next to its producer: the decision alone, over plain values. Pure.

Credit is given by half windows: until then the producer has half a window to send, or the consumer half a window to take. Only if
the producer is out of credit and the node stops taking, the rest is given after a moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

PATIENCE_SECONDS = 0.002
"""How long credit under half a window is held back from a producer that has none left."""

PROMPT_SECONDS = 0.05
"""How long it takes at most, on the lanes of recoverable nodes, to report what has arrived or is committed."""


class Reported(NamedTuple):
    """What the producer knows by the last `accepted` or `credit`."""

    taken: int
    """Items of the edge that the node had taken; `base` of the edge before the first credit."""
    limit_items: int
    """Most items that may be under way."""
    acknowledged: int = 0
    """Items of this lane that were committed."""
    arrived: int = 0
    """Items of this lane that had arrived."""


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
    """The node needs its producer no more."""
    refused: bool = False
    """The producer broke the protocol."""
    stop_sent: bool = False
    half_closed: bool = False
    """The producer sends nothing any more."""
    holding_back: bool = False
    """The edge is at its limit in bytes, and what comes is left in the stream until the node takes something."""
    heartbeat_due: bool = False
    waited: bool = False
    """The wait of `PATIENCE_SECONDS` is over, and nothing has happened in it."""
    lane_acknowledged: int = 0
    """Items of this lane that are committed."""
    lane_arrived: int = 0
    """Items of this lane that have arrived."""
    report_age: float = 0.0
    """Seconds since the last `credit`."""

    @property
    def half_window(self) -> int:
        """Items taken since the last report at which credit is due. At least 1."""
        return max(1, self.limit_items // 2)

    @property
    def owed(self) -> int:
        """Items taken since the last report."""
        return self.taken - self.reported.taken

    @property
    def out_of_credit(self) -> bool:
        """The producer may send nothing before further credit."""
        return self.arrived - self.reported.taken >= self.reported.limit_items

    @property
    def starved(self) -> bool:
        """The producer is out of credit, and there is some for it."""
        return self.owed > 0 and not self.ended and self.out_of_credit


class Send(Enum):
    """A frame to write now, or the end of the writing."""

    REFUSAL = auto()
    """A `stop` with the violation of the protocol. Nothing follows it."""
    HEARTBEAT = auto()
    STOP = auto()
    CREDIT = auto()
    NOTHING_MORE = auto()
    """The producer has half-closed, and needs to learn nothing any more."""


@dataclass(frozen=True, slots=True)
class Wait:
    """There is nothing to write: wait for a change."""

    taken: int
    """Items taken in all at which to be woken."""
    seconds: float | None = None
    """The longest wait; None: until the change."""
    patience: bool = False
    """If nothing changes in these seconds, the next view has `waited`."""


class CreditPolicy:
    """Decides for a lane between nodes that are not recoverable."""

    prompt = False
    """Whether arrivals are reported soon after they have come. The reading side then wakes the writing one."""

    def next(self, view: View) -> Send | Wait:
        """The next step. It depends on `view` alone."""
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
        """After how many seconds there may be news without a wake-up."""
        return None


class RecoverableCreditPolicy(CreditPolicy):
    """Decides for a lane whose producer or consumer is recoverable: counts of what has arrived and what is committed are reported
    within 50 ms, credit or not, since the producer keeps the items that it does not know to be committed."""

    prompt = True

    def _has_news(self, view: View) -> bool:
        if view.stop_sent or view.report_age < PROMPT_SECONDS:
            return False
        return (view.lane_acknowledged, view.lane_arrived) != (view.reported.acknowledged, view.reported.arrived)

    def _longest_wait(self, view: View) -> float | None:
        everything = min(view.reported.acknowledged, view.reported.arrived) >= view.lane_arrived
        return None if everything else PROMPT_SECONDS
