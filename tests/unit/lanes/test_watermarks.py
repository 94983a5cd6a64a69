"""What is safe is never more than what has come of it and was acknowledged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lanemesh.lanes.recovery.watermarks import MAX_MARKS, Watermarks

STEPS = st.lists(
    st.sampled_from(["take", "send one", "send other", "end", "ack one", "ack other", "look"]), max_size=400
)


@given(STEPS)
def test_what_is_safe_has_been_acknowledged_with_all_that_came_of_it(steps: list[str]) -> None:
    """One node after another takes items, sends what it likes by two lanes and ends its firing; lanes acknowledge as they like."""
    marks = Watermarks(1)
    processed = 0
    sent, acknowledged = [0, 0], [0, 0]
    needed = [(0, 0)]
    """What had been sent when so many items were processed."""
    for step in [*steps, "end", "end"]:
        match step.split():
            case ["send", which]:
                sent[which == "other"] += 1
            case ["end"]:
                processed += 1
                needed.append((sent[0], sent[1]))
            case ["ack", which]:
                lane = which == "other"
                acknowledged[lane] = min(sent[lane], acknowledged[lane] + 1)
            case ["look"]:
                (committed,) = marks.look([processed], sent, acknowledged)
                assert committed <= processed
                assert all(known >= wanted for known, wanted in zip(acknowledged, needed[committed], strict=True))
    assert marks.look([processed], sent, acknowledged)[0] <= processed
    assert marks.look([processed], sent, sent) == (processed,)


def test_without_outgoing_lanes_what_is_processed_is_safe() -> None:
    marks = Watermarks(2)
    assert marks.look([3, 1], [], []) == (3, 1)


def test_a_node_without_acknowledgements_uses_bounded_memory() -> None:
    marks = Watermarks(1)
    for processed in range(1, 10 * MAX_MARKS):
        assert marks.look([processed], [processed], [0]) == (0,)
    assert len(marks._marks) == MAX_MARKS
    assert marks.look([700], [700], [MAX_MARKS - 1]) == (MAX_MARKS - 1,)
    assert marks.look([700], [700], [700]) == (700,)
