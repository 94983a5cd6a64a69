"""Detached runs that are not read: what they leave in the memory of an orchestrator without a store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from lanemesh import Client, RunRecord

from chain.systems import WrongResult
from chain.work import Work
from delivery.memory import growth, resident_mib
from delivery.served import placed_chain, served

STALL_LIMIT_S = 120.0
"""Time without a further output after which the runs are given up."""


@dataclass(frozen=True, kw_only=True)
class Left:
    """What became of the orchestrator."""

    runs: int
    outputs: int
    """Of each run."""
    grown_mib: float
    """The most that the orchestrator has grown, until all runs had ended."""
    seconds: float
    """From the first start to the last end."""


async def measure(runs: int, outputs: int, progress: Callable[[str], None]) -> Left:
    """Starts all runs at once, detached, and waits for their ends.

    Raises:
        WrongResult: a run did not complete with all its outputs, or the runs made no progress for two minutes.
    """
    pipeline = placed_chain(Work(items=outputs, every=1))
    async with served(store=False) as mesh:
        await mesh.client.run(placed_chain(Work(items=1_000, every=1)), input="go").result()
        before, began = resident_mib(), time.monotonic()
        ids = [run.id for run in await asyncio.gather(*(mesh.client.start(pipeline, input="go") for _ in range(runs)))]
        grown, done, changed = 0.0, 0, time.monotonic()
        while True:
            records = await _records(mesh.client, set(ids))
            grown = max(grown, growth(before, resident_mib())["orchestrator"])
            if all(record.state.is_terminal for record in records):
                break
            if (now := sum(record.output_count for record in records)) != done:
                done, changed = now, time.monotonic()
                progress(f"{done:,} of {runs * outputs:,} outputs, orchestrator {grown:+.1f} MiB")
            elif time.monotonic() - changed > STALL_LIMIT_S:
                raise WrongResult(
                    f"{done:,} of {runs * outputs:,} outputs came, and no further one in {STALL_LIMIT_S:g} s"
                )
            await asyncio.sleep(1)
        seconds = time.monotonic() - began
    for record in records:
        if record.state != "completed" or record.output_count != outputs:
            raise WrongResult(f"a detached run is {record.state} with {record.output_count:,} of {outputs:,} outputs")
    return Left(runs=runs, outputs=outputs, grown_mib=grown, seconds=seconds)


async def _records(client: Client, ids: set[str]) -> list[RunRecord]:
    found = [record for record in await client.runs(limit=len(ids) + 1) if record.run_id in ids]
    if len(found) != len(ids):
        raise WrongResult(f"the orchestrator knows {len(found)} of {len(ids)} runs")
    return found
