"""`python -m gpu_schedules`: random schedules of leases against the decisions of the GPU arbiter, on several processes.

Half of the steps are those of whole devices, half those of memory and models. Prints how many steps were taken, and what the
arbiter decided meanwhile. A broken promise ends it with the shortest schedule that breaks it.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from gpu_schedules.counted import Counted
from gpu_schedules.leases import LeaseSchedules
from gpu_schedules.memory import MemorySchedules

MACHINES: tuple[type[Counted], ...] = (LeaseSchedules, MemorySchedules)
LENGTH = 50
"""Most steps of one schedule."""
EXPECTED = {
    "LeaseSchedules": ("granted", "queued", "revoked", "wanted", "yielded"),
    "MemorySchedules": ("granted", "kept", "offload", "queued", "revoked", "unload", "wanted", "yielded"),
}
"""Frames that must have been sent: without them the schedules would prove little."""


def play(steps: int, seed: int) -> list[tuple[str, int, Counter[str]]]:
    """Takes at least so many steps. Returns the steps and the frames of each machine."""
    dice = random.Random(seed)
    for machine in MACHINES:
        while (left := steps // len(MACHINES) - machine.steps) > 0:
            bounds = settings(
                max_examples=max(left // LENGTH, 1),
                stateful_step_count=LENGTH,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            run_state_machine_as_test(seeded(dice.getrandbits(64))(machine), settings=bounds)
    return [(machine.__name__, machine.steps, machine.frames) for machine in MACHINES]


def main() -> int:
    """Plays what the command line asks for. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gpu_schedules", description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="how many steps are taken in all (%(default)d)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="on how many processes (%(default)d)")
    parser.add_argument(
        "--seed", type=int, help="of the schedules of the first process; the others follow. Unless given: any"
    )
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**9)
    print(f"    seed {seed}, {options.jobs} processes", flush=True)
    begun = time.perf_counter()
    steps: Counter[str] = Counter()
    frames: dict[str, Counter[str]] = {machine.__name__: Counter() for machine in MACHINES}
    share = -(-options.steps // options.jobs)
    with ProcessPoolExecutor(options.jobs) as pool:
        for found in pool.map(play, [share] * options.jobs, range(seed, seed + options.jobs)):
            for name, count, sent in found:
                steps[name] += count
                frames[name] += sent
    for name, count in steps.items():
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(frames[name].items()))
        print(f"    {name}: {count:,} steps; frames: {kinds}", flush=True)
    missing = [f"{name}: {kind}" for name, wanted in EXPECTED.items() for kind in wanted if not frames[name][kind]]
    for one in missing:
        print(f"FAILED no such frame was sent in {one}")
    print(f"    {sum(steps.values()):,} steps in {time.perf_counter() - begun:.0f} s", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
