"""Pauses between attempts grow, within bounds, and differ between loops that begin together."""

from __future__ import annotations

import random

from lanemesh._aio.backoff import Backoff, exponential


def test_pauses_double_up_to_the_bound() -> None:
    assert [exponential(0.2, 5.0, number) for number in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert exponential(3600.0, 3600.0, 10**6) == 3600.0
    assert exponential(0.0, 5.0, 3) == 0.0


def test_each_pause_is_drawn_from_the_upper_half_of_its_bound() -> None:
    backoff = Backoff(0.2, 5.0, source=random.Random(1))
    drawn = [backoff.next() for _ in range(1000)]
    for number, pause in enumerate(drawn):
        bound = exponential(0.2, 5.0, number)
        assert bound / 2 <= pause <= bound
    late = drawn[10:]
    assert min(late) < 2.6
    assert max(late) > 4.9


def test_a_seeded_source_gives_the_same_pauses_and_another_seed_others() -> None:
    def pauses(seed: int) -> list[float]:
        backoff = Backoff(0.2, 5.0, source=random.Random(seed))
        return [backoff.next() for _ in range(5)]

    assert pauses(1) == pauses(1)
    assert pauses(1) != pauses(2)


def test_a_success_begins_anew() -> None:
    backoff = Backoff(1.0, 60.0, source=random.Random(1))
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert 0.5 <= backoff.next() <= 1.0
