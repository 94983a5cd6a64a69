"""The declaration of a node whose `process` gets the inputs of several firings, of different runs, at once."""

from __future__ import annotations

from dataclasses import dataclass

from lanemesh.faults import Code, Fault, NodeDefinitionError

MAX_BATCH = 4096
"""Largest size of a batch."""
MAX_WITHIN_SECONDS = 60.0
"""Longest wait of a firing for others."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Makes `process` a body for several firings: `batch = Batch(max=32, within=0.01)` in a node class.

    Its form is then `process(self, items)`. `items` is a list with the copy of the node for each firing, of any of the runs on the
    node server that use the class with the same config. It returns a list with the result of each, in the same order.
    """

    max: int = 32
    """Most firings in one batch, 1 to 4,096."""
    within: float = 0.01
    """Longest time in seconds, 0 to 60, that a firing waits for a second one while no batch runs. Several wait only while further
    ones keep arriving, and four times as long at most."""
    concurrency: int = 1
    """How many batches may run at once. Above 1, `process` is called concurrently with the same resource."""

    def __post_init__(self) -> None:
        """Raises NodeDefinitionError if a value is out of bounds."""
        if type(self.max) is not int or not 1 <= self.max <= MAX_BATCH:
            raise _bad(f"max is {self.max!r}; it must be a number of firings from 1 to {MAX_BATCH}")
        if not isinstance(self.within, int | float) or not 0 <= self.within <= MAX_WITHIN_SECONDS:
            raise _bad(f"within is {self.within!r}; it must be a time of 0 to {MAX_WITHIN_SECONDS:g} seconds")
        if type(self.concurrency) is not int or not 1 <= self.concurrency <= MAX_BATCH:
            raise _bad(f"concurrency is {self.concurrency!r}; it must be a number of batches from 1 to {MAX_BATCH}")

    @property
    def firings(self) -> int:
        """How many firings of one component are concurrent unless the pipeline sets it: as many as run, and as many as wait."""
        return min(2 * self.max * self.concurrency, 10_000)


def _bad(what: str) -> NodeDefinitionError:
    return NodeDefinitionError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-node", message=f"Batch: {what}."))
