"""What a component has used beyond its helpers."""

from __future__ import annotations

import sys

import pytest
from lanemesh.node import usage_sum
from lanemesh.node.usage_sum import UsageSum, Used
from lanemesh.values import Usage


def test_the_latest_total_of_each_source_counts() -> None:
    total = UsageSum()
    assert total.take("a", Used(1)) == Used(1, None)
    assert total.take("a", Used(2, Usage(10, 5))) == Used(2, Usage(10, 5))
    assert total.take("b", Used(1, Usage(1, 1, cost=0.5))) == Used(3, Usage(11, 6, cost=0.5))


def test_a_total_that_changes_leaves_no_rest_of_the_earlier_one() -> None:
    total = UsageSum()
    total.take("a", Used(1, Usage(1, 0, cost=0.1)))
    total.take("b", Used(1, Usage(1, 0, cost=0.2)))
    assert total.take("b", Used(1, Usage(1, 0))) == Used(2, Usage(2, 0, cost=0.1))
    assert total.take("a", Used(1)) == Used(2, Usage(1, 0))
    assert total.take("b", Used(0)) == Used(1)


def test_the_work_of_a_report_does_not_grow_with_the_number_of_sources() -> None:
    total = UsageSum()

    def work() -> int:
        """The number of calls of one report."""
        calls = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            total.take("1", Used(1, Usage(1, 1)))
        finally:
            sys.setprofile(None)
        return calls

    for number in range(2):
        total.take(str(number), Used(1, Usage(1, 1)))
    few = work()
    for number in range(2, 900):
        total.take(str(number), Used(1, Usage(1, 1)))
    assert work() == few


def test_sources_are_bounded_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_sum, "MAX_SOURCES", 50)
    total = UsageSum()
    for number in range(100):
        used = total.take(str(number), Used(1, Usage(1, 0)))
    assert used == Used(100, Usage(100, 0))
    assert len(total._sources) == 50


@pytest.mark.parametrize("most", [sys.float_info.max, -sys.float_info.max])
def test_a_cost_that_exceeds_every_number_is_the_largest_one(most: float) -> None:
    total = UsageSum()
    total.take("a", Used(1, Usage(1, 1, cost=most)))
    assert total.take("b", Used(1, Usage(1, 1, cost=most))) == Used(2, Usage(2, 2, cost=most))
