"""What the random schedules of the arbiter share: how they choose, and how much has happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

PICK = st.integers(0, 63)
"""Chooses one of some leases. A number costs much less than a strategy that is made for each step."""


def one_of(leases: Sequence[str], pick: int) -> str:
    """The lease that a `PICK` chooses."""
    return leases[pick % len(leases)]


class Counted(RuleBasedStateMachine):
    """Counts the steps of all schedules of a class, and the frames that the arbiter has sent."""

    steps: ClassVar[int]
    frames: ClassVar[Counter[str]]

    def __init_subclass__(cls) -> None:
        cls.steps, cls.frames = 0, Counter()

    @invariant()
    def count_step(self) -> None:
        """Called after each step."""
        type(self).steps += 1
