"""What a component has used beyond its helpers."""

from __future__ import annotations

from lanemesh.node.usage_sum import MAX_SOURCES, UsageSum, Used
from lanemesh.values import Usage


def test_the_latest_total_of_each_source_counts() -> None:
    total = UsageSum()
    assert total.take("a", Used(1)) == Used(1, None)
    assert total.take("a", Used(2, Usage(10, 5))) == Used(2, Usage(10, 5))
    assert total.take("b", Used(1, Usage(1, 1, cost=0.5))) == Used(3, Usage(11, 6, cost=0.5))


def test_sources_are_bounded_and_nothing_is_lost() -> None:
    total = UsageSum()
    for number in range(2 * MAX_SOURCES):
        used = total.take(str(number), Used(1, Usage(1, 0)))
    assert used == Used(2 * MAX_SOURCES, Usage(2 * MAX_SOURCES, 0))
    assert len(total._sources) == MAX_SOURCES
