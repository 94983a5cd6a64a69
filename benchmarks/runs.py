"""What whole runs cost: `python benchmarks/runs.py`.

Memory while a fast producer waits for a slow consumer, latency through ten processes, the price of updates, watchers and a
store, 200 runs at once, and hundreds one after the other. Prints each value beside its target and exits 1 if one is missed by
more than docs/decisions.md documents. Takes about three minutes.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from statistics import median
from typing import Literal

from chain.report import Verdict, console, status, verdicts_json, verdicts_table
from chain.systems import percentile
from running import crowd, latency, memory, starts, storing, updates, watchers
from running.pipelines import mesh

RUNS_IN_A_ROW = 500
"""Runs over which memory is looked at, unless the options say otherwise."""

Say = Callable[[str], None]


async def memory_rows(options: argparse.Namespace, say: Say) -> AsyncIterator[Verdict]:
    """Growth of each process of a mesh, embedded and spread."""
    kinds: list[tuple[str, Literal["component"] | None]] = [("embedded", None), ("spread", "component")]
    for name, spread in kinds:
        grown = await memory.growth_mb(spread, options.seconds, options.warm_up)
        say(f"{name}: " + ", ".join(f"{process} {mb:+.2f} MB" for process, mb in grown.items()))
        yield _at_most(f"fast producer, slow consumer, {name}: most growth of a process", max(grown.values()), 5, "MB")


async def latency_rows(options: argparse.Namespace, say: Say) -> AsyncIterator[Verdict]:
    """Medians of a warm chain."""
    async with mesh("component") as made:
        await latency.ages_ms(made, 50)
        rounds = [await latency.ages_ms(made, options.items) for _ in range(options.rounds)]
    p50, p99 = (median(percentile(ages, share) for ages in rounds) for share in (0.5, 0.99))
    say(f"{latency.STAGES} stages: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    yield _at_most(f"{latency.STAGES} stages in processes of their own, source to client, p50", p50, 10, "ms")


async def updates_rows(options: argparse.Namespace, say: Say) -> AsyncIterator[Verdict]:
    """The run that is told of and watched against the one that is not; medians."""
    silent, told = await updates.rounds(4 * options.rounds)
    say(f"{updates.ITEMS:,} items: {median(silent):.3f} s without updates, {median(told):.3f} s with them")
    more = (median(told) / median(silent) - 1) * 100
    yield _at_most(f"updates and a watcher add to a run of {updates.ITEMS:,} items", more, 10, "%")


async def watchers_rows(options: argparse.Namespace, say: Say) -> AsyncIterator[Verdict]:
    """The run that many watch against the one that nobody does; the median of the pairs."""
    alone, watched = await watchers.rounds(4 * options.rounds)
    say(
        f"{watchers.ITEMS:,} items: {median(alone):.3f} s unwatched, {median(watched):.3f} s with {watchers.WATCHERS} watchers"
    )
    more = (median(after / before for before, after in zip(alone, watched, strict=True)) - 1) * 100
    yield _at_most(f"{watchers.WATCHERS} watchers add to a run of {watchers.ITEMS:,} items", more, 10, "%")


async def store_rows(options: argparse.Namespace, say: Say) -> AsyncIterator[Verdict]:
    """The run that is remembered against the one that is not; the median of the pairs."""
    plain, stored = await storing.rounds(4 * options.rounds)
    say(f"{storing.OUTPUTS:,} outputs: {median(plain):.3f} s, {median(stored):.3f} s in a store")
    ratio = median(after / before for before, after in zip(plain, stored, strict=True))
    yield _at_most(f"a store makes a run of {storing.OUTPUTS:,} outputs longer, to", ratio, 2, "x")


async def crowd_rows(options: argparse.Namespace, say: Say) -> AsyncIterator[Verdict]:
    """All at once."""
    async with mesh("component") as made:
        rounds = [await crowd.start_all(made) for _ in range(2)]
    last = rounds[-1]
    p50, p99 = percentile(last.set_up_s, 0.5), percentile(last.set_up_s, 0.99)
    say(
        f"{crowd.RUNS} runs at once took {last.whole_s:.2f} s, {crowd.RUNS / last.whole_s:.0f} a second; "
        f"StartRun to running: p50 {p50:.2f} s, p99 {p99:.2f} s"
    )
    completed = min(each.completed for each in rounds)
    yield Verdict(
        what=f"{crowd.RUNS} runs of five nodes at once: end well",
        value=completed,
        bound=crowd.RUNS,
        at_least=True,
        unit="",
    )


async def starts_rows(options: argparse.Namespace, say: Say) -> AsyncIterator[Verdict]:
    """One after the other."""
    async with mesh("component") as made:
        await starts.starts(made, 20)
        count = max(1, options.runs // 5)
        found = [start.running_ms for start in await starts.starts(made, count)]
        p50, p99 = percentile(found, 0.5), percentile(found, 0.99)
        say(f"{count} starts: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        yield _at_most("run of five nodes, warm: StartRun to running, p50", p50, 15, "ms")
        yield _at_most("run of five nodes, warm: StartRun to running, p99", p99, 50, "ms")
        grown = await starts.growth_mb(made, options.runs, count)
        say(f"{options.runs:,} runs one after the other: {grown:+.2f} MB")
        yield _at_most(f"{options.runs:,} runs of five nodes in a row: growth of the orchestrator", grown, 10, "MB")


PARTS: dict[str, Callable[[argparse.Namespace, Say], AsyncIterator[Verdict]]] = {
    "memory": memory_rows,
    "latency": latency_rows,
    "updates": updates_rows,
    "watchers": watchers_rows,
    "store": store_rows,
    "crowd": crowd_rows,
    "starts": starts_rows,
}


async def measure(options: argparse.Namespace, say: Say) -> list[Verdict]:
    """The values of the chosen parts, each with its target."""
    return [verdict for part in options.parts or PARTS async for verdict in PARTS[part](options, say)]


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the values as JSON instead of the table")
    parser.add_argument("--seconds", type=float, default=20, help="how long memory is looked at (default 20)")
    parser.add_argument("--warm-up", type=float, default=5, help="seconds before that (default 5)")
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="rounds of latency; four times as many of updates, watchers and the store (default 3)",
    )
    parser.add_argument("--items", type=int, default=150, help="items of a round of latency (default 150)")
    parser.add_argument(
        "--runs", type=int, default=RUNS_IN_A_ROW, help=f"runs one after the other (default {RUNS_IN_A_ROW})"
    )
    parser.add_argument("--quick", action="store_true", help="short and few rounds, to see that all parts work")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them by default")
    if "--quick" in sys.argv:
        parser.set_defaults(seconds=3, warm_up=3, rounds=1, items=50, runs=50)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    progress = console(stderr=True)
    verdicts = asyncio.run(measure(options, progress.print))
    if options.json:
        print(verdicts_json(verdicts))
    else:
        console().print(verdicts_table(verdicts))
    return status(verdicts)


def _at_most(what: str, value: float, bound: float, unit: str) -> Verdict:
    return Verdict(what=what, value=value, bound=bound, at_least=False, unit=unit)


if __name__ == "__main__":
    sys.exit(main())
