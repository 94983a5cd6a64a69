"""How fast lanes are, beside what grpc.aio does without them: `python benchmarks/lanes.py`.

Each system moves small texts through the chain source, upper-case, count, client, and, where it can, values of 1 MiB.
The rounds are interleaved, so that a slow minute of the machine strikes every system. Exits 1 if a target is missed
by more than docs/decisions.md documents.
"""

import argparse
import asyncio
import gc
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, replace

from chain import mesh
from chain.bare import BareCoalesced, BareOne, bare_chain
from chain.in_process import InProcess
from chain.report import Row, console, judge, row, rows_table, status, verdicts_table
from chain.systems import Effort, MediaSystem, Sample, System, media_bytes_per_s, sample

NAMES = ("bare-one", "bare-coalesced", "in-process", "lanemesh-spread", "lanemesh-embedded")
WARM_UP = Effort(load=0.1, first_items=3, paced_items=50, media_items=8)


@asynccontextmanager
async def started(names: Sequence[str]) -> AsyncIterator[list[System]]:
    """The named systems, started and warm, in the order of `NAMES`; leaving ends their processes."""
    systems: list[System] = []
    async with AsyncExitStack() as stack:
        if not {"bare-one", "bare-coalesced"}.isdisjoint(names):
            channel = await stack.enter_async_context(bare_chain())
            systems += [BareOne(channel), BareCoalesced(channel)]
        systems.append(InProcess())
        if "lanemesh-spread" in names:
            systems.append(await stack.enter_async_context(mesh.spread()))
        if "lanemesh-embedded" in names:
            systems.append(await stack.enter_async_context(mesh.embedded()))
        chosen = [system for system in systems if system.name in names]
        for system in chosen:
            await sample(system, WARM_UP)
        gc.freeze()  # as the commands do when they have begun
        yield chosen


async def measure(names: Sequence[str], rounds: int, effort: Effort) -> list[Row]:
    """The rows of the named systems."""
    progress = console(stderr=True)
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    media: defaultdict[str, list[float]] = defaultdict(list)
    progress.print(f"starting {', '.join(names)}")
    async with started(names) as systems:
        for number in range(1, rounds + 1):
            for system in systems:
                progress.print(f"round {number} of {rounds}: {system.name}")
                samples[system.name].append(await sample(system, effort))
                if isinstance(system, MediaSystem):
                    media[system.name].append(await media_bytes_per_s(system, effort))
    return [row(name, of_name, media[name]) for name, of_name in samples.items()]


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of the tables")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each system (default 5)")
    parser.add_argument("--load", type=float, default=1.0, help="share of the usual number of items (default 1)")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all systems work")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(NAMES)}; all of them by default")
    if "--quick" in sys.argv:
        parser.set_defaults(rounds=1, load=0.1)
    arguments = parser.parse_args()
    if unknown := set(arguments.systems) - set(NAMES):
        parser.error(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    effort = replace(Effort(), load=arguments.load)
    rows = asyncio.run(measure(arguments.systems or NAMES, arguments.rounds, effort))
    verdicts = judge({r.system: r for r in rows})
    if arguments.json:
        print(json.dumps([asdict(r) for r in rows], indent=2))
    else:
        out = console()
        out.print(rows_table(rows))
        out.print(verdicts_table(verdicts))
    return status(verdicts)


if __name__ == "__main__":
    sys.exit(main())
