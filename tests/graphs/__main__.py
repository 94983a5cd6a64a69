"""`python -m graphs`: many random pipelines, as `make fuzz` runs them."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

from graphs.generate import Features
from graphs.run import TRANSPORTS, arena, play_all

SHOWN = 5
"""Most mishaps that are shown; it ends then."""


async def fuzz(graphs: int, seed: int, transports: list[str], features: Features) -> int:
    """Runs pipelines, half of them on each transport. Returns how many did not do what they have to."""
    began, mishaps, ended, growths = time.monotonic(), 0, 0, 0
    for number, transport in enumerate(transports):
        seeds = range(seed + number, seed + graphs, len(transports))
        async with arena(transport) as made:
            async for _, mishap in play_all(made, seeds, features):
                ended += 1
                if mishap is not None:
                    mishaps += 1
                    print(f"FAILED {mishap}", flush=True)
                    if mishaps == SHOWN:
                        return mishaps
                if ended % 100 == 0:
                    took = time.monotonic() - began
                    print(f"    {ended} of {graphs} graphs in {took:.0f} s ({transport}), {mishaps} failed", flush=True)
            growths += made.growths
    print(
        f"    {ended} graphs in {time.monotonic() - began:.0f} s: {mishaps} failed; lanes grown: {growths}", flush=True
    )
    return mishaps


def main() -> int:
    """Runs the pipelines that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m graphs", description="Run random pipelines against a reference.")
    parser.add_argument("--graphs", type=int, default=2000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, help="seed of the first; the others follow. Unless given: any")
    parser.add_argument("--transport", choices=TRANSPORTS, help="where they run; unless given: half of them on each")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**9)
    transports = [options.transport] if options.transport else list(TRANSPORTS)
    print(f"    {options.graphs} graphs from seed {seed} on, on {' and '.join(transports)}", flush=True)
    return 1 if asyncio.run(fuzz(options.graphs, seed, transports, Features())) else 0


if __name__ == "__main__":
    sys.exit(main())
