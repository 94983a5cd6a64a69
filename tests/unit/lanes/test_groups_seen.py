"""What a loss leaves open, and what comes twice."""

from __future__ import annotations

from lanemesh.items import Group, GroupOutcome
from lanemesh.lanes.recovery.reopening import GroupsSeen


def test_groups_that_a_lost_producer_had_opened_end_with_an_error() -> None:
    seen = GroupsSeen(own=True)
    for group in (Group("a", 0), Group("b", 0), Group("a", 1), Group("b", 1, True)):
        assert seen.observe(group)
    assert seen.lost() == [Group("a", 2, True, GroupOutcome.ERROR)]
    assert seen.lost() == []
    assert seen.observe(Group("a~1", 0))


def test_pieces_of_groups_that_are_passed_on_come_once() -> None:
    seen = GroupsSeen(own=False)
    for group in (Group("a", 0), Group("a", 1, True), Group("b", 0), Group("b", 1)):
        assert seen.observe(group)
    assert seen.lost() == []
    again = [Group("a", 1, True), Group("b", 0), Group("b", 1), Group("b", 2), Group("c", 0), Group("b", 3, True)]
    assert [seen.observe(group) for group in again] == [False, False, False, True, True, True]


def test_before_a_loss_places_mean_nothing() -> None:
    seen = GroupsSeen(own=False)
    assert all(seen.observe(Group("a", 0)) for _ in range(3))


def test_ended_groups_are_forgotten_at_the_bound() -> None:
    seen = GroupsSeen(own=False, max_ended=2)
    for name in "abc":
        seen.observe(Group(name, 0, True))
    seen.lost()
    assert [seen.observe(Group(name, 0, True)) for name in "bc"] == [False, False]
    assert seen.observe(Group("a", 0, True))
