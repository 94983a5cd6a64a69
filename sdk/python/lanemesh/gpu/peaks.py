"""The most memory that each model has used, so that later requests for it ask for enough. Plain values, bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

MAX_MODELS = 1000
"""Models whose largest use of memory is remembered; the one that was used least lately is forgotten."""


class ModelPeaks:
    """The most bytes that leases for each model had."""

    def __init__(self) -> None:
        self._peaks: OrderedDict[str, int] = OrderedDict()

    @property
    def by_model(self) -> Mapping[str, int]:
        """The most bytes, by model."""
        return self._peaks

    def restore(self, peaks: Mapping[str, int]) -> None:
        """Takes over what an earlier arbiter has learnt."""
        self._peaks.update(peaks)

    def learn(self, model: str, seen: int) -> None:
        """A lease for a model had so many bytes; an empty model is none."""
        if model and seen > self._peaks.get(model, 0):
            self._peaks[model] = seen
            self._peaks.move_to_end(model)
            if len(self._peaks) > MAX_MODELS:
                self._peaks.popitem(last=False)

    def of(self, model: str, at_most: int) -> int:
        """The most bytes that leases for a model had, `at_most` this; 0: none is known, or the model is empty."""
        return min(self._peaks.get(model, 0), at_most) if model else 0
