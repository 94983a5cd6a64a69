"""A histogram of durations whose percentiles have a bounded error, in bounded memory."""

from __future__ import annotations

import math

_BITS = 8
"""Each power of two has 2**8 buckets."""


class Histogram:
    """Counts durations in logarithmic buckets, as HdrHistogram does (http://hdrhistogram.org).

    Every duration is counted. `count`, `total`, `least` and `most` are exact. A percentile is within 0.2 % of the exact one:
    durations below 512 ns have a bucket each, and a bucket above is at most 1/256 as wide as its lower bound, and is reported by
    its middle. There are at most 15,000 buckets, whatever the number of durations.
    """

    def __init__(self) -> None:
        self.count = 0
        """Number of durations."""
        self.total = 0
        """Their sum, in nanoseconds."""
        self.least = 0
        """The shortest one, in nanoseconds; 0 if there is none."""
        self.most = 0
        """The longest one, in nanoseconds; 0 if there is none."""
        self._buckets: dict[int, int] = {}

    def add(self, nanoseconds: int) -> None:
        """Counts a duration; a negative one, and one above 292 years, as the nearest one in between."""
        nanoseconds = min(max(nanoseconds, 0), 2**63 - 1)
        shift = max(0, nanoseconds.bit_length() - _BITS - 1)
        bucket = (shift << _BITS + 1) | (nanoseconds >> shift)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.least = min(self.least, nanoseconds) if self.count else nanoseconds
        self.most = max(self.most, nanoseconds)
        self.count += 1
        self.total += nanoseconds

    def percentile(self, percent: float) -> float | None:
        """The duration in nanoseconds that this share of all durations does not exceed (the nearest rank); None if there is none.

        Args:
            percent: above 0 and at most 100.
        """
        if not self.count:
            return None
        rank = max(1, math.ceil(self.count * percent / 100))
        if rank >= self.count:
            return float(self.most)
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                return min(max(_middle(bucket), self.least), self.most)
        raise AssertionError("the buckets hold every duration")

    @property
    def mean(self) -> float | None:
        """The mean in nanoseconds; None if there is no duration."""
        return self.total / self.count if self.count else None


def _middle(bucket: int) -> float:
    shift, leading = bucket >> _BITS + 1, bucket & (1 << _BITS + 1) - 1
    return (leading << shift) + ((1 << shift) - 1) / 2
