"""Pauses between the attempts of a retry loop: exponential, bounded, and with jitter.

The n-th pause, from 0, is drawn uniformly from [p/2, p] with p = min(longest, first * 2**n). This is the "equal jitter" of Marc
Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: what broke for many clients at once is not asked by all of
them at once again, and no pause is so short that it is none.
"""

from __future__ import annotations

import random

MAX_DOUBLINGS = 64
"""Beyond this a pause is at its bound, whatever it began with."""


def exponential(first: float, longest: float, number: int) -> float:
    """The pause of this number, from 0, in seconds, without jitter: `first * 2**number`, at most `longest`."""
    return float(min(longest, first * 2 ** min(number, MAX_DOUBLINGS)))


class Backoff:
    """The pauses of one retry loop. It bounds the pauses; how many attempts there are is up to the loop."""

    def __init__(self, first: float, longest: float, *, source: random.Random | None = None) -> None:
        """`first` and `longest` bound the first and every pause, in seconds. `source` is what jitter is drawn from; that of the
        process unless given."""
        self._first = first
        self._longest = longest
        self._uniform = (source or random).uniform
        self._number = 0

    def next(self) -> float:
        """The next pause, in seconds."""
        pause = exponential(self._first, self._longest, self._number)
        self._number += 1
        return self._uniform(pause / 2, pause)

    def reset(self) -> None:
        """An attempt has succeeded: the next pause is a first one."""
        self._number = 0
