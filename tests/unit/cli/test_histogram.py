"""Percentiles of many durations: within the stated error, in bounded memory."""

from __future__ import annotations

import math
import random

import pytest
from lanemesh_orchestrator.cli.output.histogram import Histogram

ERROR = 0.002


def exact(values: list[int], percent: float) -> int:
    """The nearest rank."""
    return sorted(values)[max(1, math.ceil(len(values) * percent / 100)) - 1]


def of(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@pytest.mark.conformance("REQ-06")
@pytest.mark.parametrize("seed", range(5))
def test_a_percentile_is_within_the_stated_error(seed: int) -> None:
    dice = random.Random(seed)
    values = [round(10 ** dice.uniform(0, 13)) for _ in range(dice.choice([1, 2, 3, 10, 999, 20_000]))]
    found = of(values)
    for percent in (0.001, 1, 25, 50, 90, 99, 99.9, 100):
        percentile = found.percentile(percent)
        assert percentile is not None
        assert abs(percentile - exact(values, percent)) <= ERROR * exact(values, percent), percent
    assert (found.count, found.total, found.least, found.most) == (len(values), sum(values), min(values), max(values))
    assert found.percentile(100) == max(values)
    assert found.mean == sum(values) / len(values)


def test_short_durations_are_exact() -> None:
    found = of(list(range(512)))
    assert [found.percentile(100 * (number + 1) / 512) for number in range(512)] == list(range(512))


def test_one_without_durations_has_no_percentile() -> None:
    assert (Histogram().percentile(50), Histogram().mean, Histogram().count) == (None, None, 0)


def test_percentiles_never_leave_the_range_of_what_was_counted() -> None:
    found = of([1_000_003] * 3)
    assert [found.percentile(percent) for percent in (1, 50, 99, 100)] == [1_000_003] * 4


def test_any_duration_is_counted_in_bounded_memory() -> None:
    found = Histogram()
    for bits in range(70):
        for step in range(600):
            found.add((1 << bits) + step * max(1, (1 << bits) // 600))
    found.add(-5)
    assert found.count == 70 * 600 + 1
    assert (found.least, found.most) == (0, 2**63 - 1)
    assert len(found._buckets) <= 15_000
