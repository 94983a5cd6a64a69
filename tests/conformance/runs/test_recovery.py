"""Recovery: a restartable component whose node server is lost goes on at another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from lanemesh.client.runs import Run, value_of
from lanemesh.v1 import run_pb2

from conformance.runs.replicas import details, replicas
from conformance.runs.rig import node, pipeline, response

COMPLETED, FAILED = run_pb2.RUN_STATE_COMPLETED, run_pb2.RUN_STATE_FAILED
COUNT = 10_000


async def followed(
    run: Run, when: int, what: Callable[[], object], seconds: float = 60.0
) -> tuple[run_pb2.JobUpdate, list[str], list[run_pb2.Update]]:
    """Follows a run to its end, and does something when so many outputs have come. Its last update, outputs and all updates."""
    outputs: list[str] = []
    updates: list[run_pb2.Update] = []
    async with asyncio.timeout(seconds), run:
        async for update in run.updates():
            updates.append(update)
            if update.WhichOneof("kind") == "output":
                outputs.append(value_of(update.output))
                if len(outputs) == when:
                    what()
    return updates[-1].job, outputs, updates


def each_once_but_for_a_stretch(outputs: Sequence[str], count: int) -> None:
    """All numbers are there, in order but for where it goes back to what had come before."""
    numbers = [int(output) for output in outputs]
    assert sorted(set(numbers)) == list(range(count))
    highest = -1
    for before, number in zip([-1, *numbers], numbers, strict=False):
        assert number == before + 1 or number <= highest + 1
        highest = max(highest, number)


async def test_a_restartable_component_goes_on_at_another_server() -> None:
    async with replicas("left", "a", "b") as mesh:
        line = pipeline(node("source", "counting", count=COUNT), node("c", "steady", "source"), response("c"))
        run = mesh.run(line, {"source": "left", "c": "a"})
        job, outputs, updates = await followed(run, COUNT // 3, lambda: mesh.kill("a"))
        assert job.state == COMPLETED, job
        each_once_but_for_a_stretch(outputs, COUNT)
        assert details(updates, "c") == ['its node server "a" was lost; placed again on "b"']
