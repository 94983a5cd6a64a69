"""What the consumer end of a lane sends next: credit by half windows, never a deadlock, and the reports of recoverable nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanemesh.lanes.transport.credit import (
    PATIENCE_SECONDS,
    PROMPT_SECONDS,
    CreditPolicy,
    RecoverableCreditPolicy,
    Reported,
    Send,
    View,
    Wait,
)

PLAIN, RECOVERABLE = CreditPolicy(), RecoverableCreditPolicy()


def view(*, taken_reported: int = 0, limit_reported: int = 8, **state: Any) -> View:
    """A lane of eight items on which nothing has happened, but for what is given."""
    nothing = {"arrived": 0, "taken": 0, "limit_items": 8, "buffered_items": 0}
    open_lane = {"ended": False, "stopped": False, "drained": True}
    return View(reported=Reported(taken_reported, limit_reported), **{**nothing, **open_lane, **state})


@pytest.mark.parametrize("policy", [PLAIN, RECOVERABLE])
@pytest.mark.parametrize(
    ("state", "step"),
    [
        # nothing to write
        ({}, Wait(4)),
        ({"arrived": 3, "taken": 3}, Wait(4)),
        ({"taken_reported": 4, "arrived": 5, "taken": 5}, Wait(8)),
        # half a window was taken, or the window has grown
        ({"arrived": 4, "taken": 4}, Send.CREDIT),
        ({"limit_items": 9}, Send.CREDIT),
        ({"limit_items": 1, "limit_reported": 1, "arrived": 1, "taken": 1}, Send.CREDIT),
        # the producer is out of credit
        ({"arrived": 8, "buffered_items": 8}, Wait(1)),
        ({"arrived": 8, "taken": 1, "buffered_items": 7}, Wait(2, PATIENCE_SECONDS, patience=True)),
        ({"arrived": 8, "taken": 1, "buffered_items": 7, "waited": True}, Send.CREDIT),
        # what comes is held back
        ({"arrived": 2, "taken": 1, "buffered_items": 1, "holding_back": True}, Wait(2)),
        # the node takes no more
        ({"stopped": True}, Send.STOP),
        ({"stopped": True, "arrived": 4, "taken": 4, "stop_sent": True}, Wait(4)),
        ({"stopped": True, "limit_items": 9, "stop_sent": True}, Wait(4)),
        ({"stopped": True, "ended": True}, Wait(4)),
        # the producer has ended the lane
        ({"ended": True, "arrived": 4, "taken": 4}, Wait(4)),
        ({"ended": True, "half_closed": True, "arrived": 5, "taken": 4, "buffered_items": 1}, Wait(5)),
        ({"ended": True, "half_closed": True, "arrived": 5, "taken": 5}, Send.NOTHING_MORE),
        ({"ended": True, "half_closed": True, "arrived": 5, "taken": 5, "drained": False}, Wait(6)),
        ({"half_closed": True, "stopped": True, "stop_sent": True, "drained": False}, Send.NOTHING_MORE),
        # heartbeats go first, a violation before everything
        ({"heartbeat_due": True, "stopped": True}, Send.HEARTBEAT),
        ({"heartbeat_due": True, "refused": True}, Send.REFUSAL),
    ],
)
def test_a_lane_on_which_nothing_is_to_be_reported_early(
    policy: CreditPolicy, state: dict[str, Any], step: Send | Wait
) -> None:
    assert policy.next(view(**state)) == step


@pytest.mark.parametrize(
    ("state", "step"),
    [
        ({"lane_arrived": 1, "report_age": 1.0}, Send.CREDIT),
        ({"lane_arrived": 1, "report_age": PROMPT_SECONDS / 2}, Wait(4, PROMPT_SECONDS)),
        ({"lane_acknowledged": 1, "lane_arrived": 1, "report_age": 1.0, "ended": True}, Send.CREDIT),
        ({"lane_arrived": 1, "report_age": 1.0, "stopped": True, "stop_sent": True}, Wait(4, PROMPT_SECONDS)),
    ],
)
def test_a_recoverable_node_reports_arrivals_without_credit(state: dict[str, Any], step: Send | Wait) -> None:
    assert RECOVERABLE.next(view(**state)) == step
    assert isinstance(PLAIN.next(view(**state)), Wait)


@dataclass
class Lane:
    """A lane with a producer that sends while it has credit, as the policy has it."""

    policy: CreditPolicy
    limit: int
    reported: Reported
    arrived: int = 0
    taken: int = 0
    waited: bool = False
    credits: int = 0
    wake_at: int = 0

    def send(self, count: int) -> None:
        self.arrived += min(count, self.reported.taken + self.reported.limit_items - self.arrived)

    def take(self, count: int) -> None:
        self.taken += min(count, self.arrived - self.taken)

    def run(self) -> Wait:
        """Writes until there is nothing to write."""
        for _ in range(3):
            step = self.policy.next(self.view())
            if isinstance(step, Wait):
                self.wake_at = step.taken
                return step
            assert step is Send.CREDIT
            self.credits += 1
            self.reported = Reported(self.taken, self.limit, self.taken, self.arrived)
            self.waited = False
        raise AssertionError("it writes for ever")

    def view(self) -> View:
        return View(
            reported=self.reported,
            arrived=self.arrived,
            taken=self.taken,
            limit_items=self.limit,
            buffered_items=self.arrived - self.taken,
            ended=False,
            stopped=False,
            drained=True,
            waited=self.waited,
            lane_acknowledged=self.taken,
            lane_arrived=self.arrived,
        )


ACTS = st.lists(
    st.tuples(st.sampled_from(["send", "take", "grow"]), st.integers(min_value=1, max_value=40)), max_size=100
)


@settings(deadline=None)
@given(st.sampled_from([PLAIN, RECOVERABLE]), st.integers(min_value=1, max_value=32), ACTS)
def test_the_producer_gets_credit_again_whatever_is_sent_and_taken(
    policy: CreditPolicy, limit: int, acts: list[tuple[str, int]]
) -> None:
    lane = Lane(policy, limit, Reported(0, limit))
    for act, count in acts:
        if act == "grow":
            lane.limit += count
        elif act == "send":
            lane.send(count)
        else:
            lane.take(count)
        step = lane.run()
        assert lane.arrived - lane.taken <= lane.limit
        if step.patience:
            lane.waited = True
            assert not lane.run().patience
        has_credit = lane.arrived < lane.reported.taken + lane.reported.limit_items
        assert has_credit or (lane.arrived > lane.taken and lane.wake_at == lane.taken + 1)


@settings(deadline=None)
@given(st.integers(min_value=2, max_value=64), st.integers(min_value=1, max_value=500))
def test_a_busy_lane_gets_one_credit_for_each_half_window(limit: int, items: int) -> None:
    lane = Lane(PLAIN, limit, Reported(0, limit))
    for _ in range(items):
        lane.send(1)
        lane.take(1)
        lane.run()
    assert lane.credits == items // (limit // 2)
