"""The link of a run that is active: it has some updates, and the next one never comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from lanemesh.text_outputs import Entry
from lanemesh.v1 import run_pb2

Given = Sequence[Entry] | run_pb2.Gap


class ActiveUpdates:
    """Gives the updates that there are. A reader that waits for the next one fails its test."""

    def __init__(self, given: Sequence[Given]) -> None:
        self._given = given

    async def batches(self, from_sequence: int) -> AsyncGenerator[Given, None]:
        for one in self._given:
            yield one
        raise AssertionError("a later update was waited for")

    async def push(self, given: run_pb2.RunInput | None, *, end: bool) -> None:
        raise NotImplementedError

    async def cancel(self, reason: str) -> None:
        raise NotImplementedError

    async def decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        raise NotImplementedError
