"""The memory that runs take in the process of an orchestrator, in truth: its resident memory, not what is accounted."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # this file is a program, too

from repeats import times
from rigs.runs import NODES, line, node

MIB = 1024 * 1024
RUNS = times(12, 4)
BUDGET = RUNS * 2 * MIB
ALLOWANCE = times(12, 8) * MIB
"""How much more than the budget the process may grow: the lanes of active runs, and memory that is not returned at once."""


async def grown(outputs: int, size: int) -> dict[str, int]:
    """What runs without readers leave: the growth of this process, what is accounted, and what has ended."""
    import psutil
    from lanemesh_orchestrator import Mesh

    process = psutil.Process()
    document = line(node("a", "series", "chat", count=outputs, size=size))
    async with Mesh(nodes=NODES, run_memory=BUDGET) as mesh:
        small = line(node("a", "series", "chat", count=1_000))
        await (await mesh.start(small, input="go")).result()  # code and buffers that the first run loads
        gc.collect()
        before, held = process.memory_info().rss, mesh.orchestrator.runs.memory.held
        runs = [await mesh.start(document, input="go") for _ in range(RUNS)]
        await asyncio.gather(*(mesh.orchestrator.runs.get(run.id).ended.wait() for run in runs))
        gc.collect()
        return {
            "grown": process.memory_info().rss - before,
            "held": mesh.orchestrator.runs.memory.held - held,
            "outputs": sum(mesh.orchestrator.runs.get(run.id).output_count for run in runs),
        }


@pytest.mark.many
@pytest.mark.conformance("RUN-22")
@pytest.mark.parametrize(
    ("outputs", "size"), [(50_000, 40), (20_000, 400), (200, 100_000)], ids=["short", "middle", "long"]
)
def test_detached_runs_without_readers_stay_within_the_budget(outputs: int, size: int) -> None:
    done = subprocess.run(
        [sys.executable, __file__, str(outputs), str(size)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["outputs"] == RUNS * outputs
    assert found["outputs"] * size > 0.9 * BUDGET
    assert found["grown"] <= BUDGET + ALLOWANCE


if __name__ == "__main__":
    print(json.dumps(asyncio.run(grown(*map(int, sys.argv[1:])))))
