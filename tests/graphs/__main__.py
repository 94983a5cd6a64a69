"""`python -m graphs`: many random pipelines, as `make fuzz` runs them."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence

from graphs.generate import Features
from rigs.graphs import TRANSPORTS, arena, play_all

SHOWN = 5
"""Most mishaps that are shown; it ends then."""


async def fuzz(graphs: int, seed: int, transports: Sequence[str], features: Features) -> int:
    """Runs pipelines, each on every transport. Returns how many runs did not do what they have to."""
    began, mishaps, growths = time.monotonic(), 0, 0
    states: Counter[str] = Counter()
    for transport in transports:
        async with arena(transport) as made:
            ended = 0
            async for mishap in play_all(made, range(seed, seed + graphs), features):
                ended += 1
                if mishap is not None:
                    mishaps += 1
                    say(f"FAILED {mishap}")
                    if mishaps == SHOWN:
                        return mishaps
                if ended % 100 == 0 or ended == graphs:
                    took = time.monotonic() - began
                    say(f"    {transport}: {ended} of {graphs} graphs after {took:.0f} s, {mishaps} failed")
            states += made.states
            growths += made.growths
    told = ", ".join(f"{count} {state}" for state, count in states.most_common())
    say(f"    as they have to: {told}; lanes that had to grow: {growths}")
    return mishaps


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


def main() -> int:
    """Runs the pipelines that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m graphs", description="Run random pipelines against a reference.")
    parser.add_argument("--graphs", type=int, default=2000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, help="seed of the first; the others follow. Unless given: any")
    parser.add_argument("--transport", choices=TRANSPORTS, help="where they run; unless given: on both")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**9)
    transports = [options.transport] if options.transport else list(TRANSPORTS)
    say(f"    {options.graphs} graphs from seed {seed} on, on {' and '.join(transports)}")
    return 1 if asyncio.run(fuzz(options.graphs, seed, transports, Features())) else 0


if __name__ == "__main__":
    sys.exit(main())
