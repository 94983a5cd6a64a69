"""What a component has used beyond its helpers."""

from __future__ import annotations

import pytest
from lanemesh.node import usage_sum
from lanemesh.node.usage_sum import UsageSum, Used
from lanemesh.values import Usage


def test_the_latest_total_of_each_source_counts() -> None:
    total = UsageSum()
    assert total.take("a", Used(1)) == Used(1, None)
    assert total.take("a", Used(2, Usage(10, 5))) == Used(2, Usage(10, 5))
    assert total.take("b", Used(1, Usage(1, 1, cost=0.5))) == Used(3, Usage(11, 6, cost=0.5))


def test_sources_are_bounded_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_sum, "MAX_SOURCES", 50)
    total = UsageSum()
    for number in range(100):
        used = total.take(str(number), Used(1, Usage(1, 0)))
    assert used == Used(100, Usage(100, 0))
    assert len(total._sources) == 50
