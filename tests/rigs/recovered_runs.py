"""Runs that lose components: their pipelines, and checks of what their clients get."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from lanemesh.client.run_reader import wire_updates
from lanemesh.client.runs import Run
from lanemesh.v1 import update_pb2

from repeats import times
from rigs.runs import lane, node, pipeline, response, value_of

COMPLETED, FAILED, CANCELLED = (
    update_pb2.RUN_STATE_COMPLETED,
    update_pb2.RUN_STATE_FAILED,
    update_pb2.RUN_STATE_CANCELLED,
)
COUNT = times(10_000, 6_000)
SMALL = {"buffer_limit": 64}
"""So that a lane does not hold a whole run."""

Followed = tuple[update_pb2.JobUpdate, list[str], list[update_pb2.Update]]
"""The last update of a run, its outputs, and all its updates."""


async def followed(run: Run, *when: tuple[int, Callable[[], object]], pause: float = 0.0) -> Followed:
    """Follows a run to its end, and does each thing when so many outputs have come. `pause` makes the client slow."""
    acts = dict(when)
    outputs: list[str] = []
    updates: list[update_pb2.Update] = []
    async with asyncio.timeout(90), run:
        async for update in wire_updates(run):
            updates.append(update)
            if update.WhichOneof("kind") == "output":
                outputs.append(value_of(update.output))
                if len(outputs) in acts:
                    acts.pop(len(outputs))()
                if pause and len(outputs) % 100 == 0:
                    await asyncio.sleep(pause)
    assert not acts, f"the run was over before: {updates[-1]}"
    return updates[-1].job, outputs, updates


def stretches(outputs: Sequence[str], count: int) -> int:
    """How often it goes back to what had come before; all numbers are there, and in order but for that."""
    numbers = [int(output) for output in outputs]
    assert sorted(set(numbers)) == list(range(count))
    highest, repeated = -1, 0
    for before, number in zip([-1, *numbers], numbers, strict=False):
        repeated += number != before + 1
        assert number == before + 1 or number <= highest + 1
        highest = max(highest, number)
    return repeated


def never_back(updates: Sequence[update_pb2.Update]) -> None:
    """No count of an edge or a node goes backwards."""
    latest: dict[tuple[str, str], int] = {}
    for update in updates:
        match update.WhichOneof("kind"):
            case "edge":
                counts = {"sent": update.edge.sent, "consumed": update.edge.consumed}
                name = update.edge.edge_id
            case "node":
                counts, name = {"firings": update.node.firings}, update.node.component
            case _:
                continue
        for what, count in counts.items():
            assert count >= latest.get((name, what), 0), (name, what)
            latest[name, what] = count


def line(*middle: dict[str, Any], count: int = COUNT) -> dict[str, Any]:
    """A source of numbers, these, and a response after the last, which are never far ahead of a client."""
    last = lane(middle[-1]["id"], **SMALL)
    return pipeline(node("source", "counting", count=count), *middle, response(last))
