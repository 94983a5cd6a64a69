"""What the clients of a mesh get: `python benchmarks/clients.py`.

Every item reaches the client's program, from `lanemesh serve` with node servers, a spread and an embedded `Mesh`, and from the
same chain written by hand: items a second, the latency of paced items, a client that stops reading, starts of runs, detached
runs that are not read. Prints each value beside its target, and exits 1 if one is missed
by more than docs/decisions.md documents. Takes about four minutes.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable

from rich.table import Table

from chain.report import Verdict, console, status, verdicts_json, verdicts_table
from delivery import detached, paced, report, stalled, starts, throughput

Progress = Callable[[str], None]
Found = tuple[list[Table], list[Verdict]]


async def throughput_part(options: argparse.Namespace, progress: Progress) -> Found:
    """Items a second."""
    rows = await throughput.measure(options.rounds, options.seconds, progress)
    return [report.throughput_table(rows)], report.of_throughput(rows)


async def paced_part(options: argparse.Namespace, progress: Progress) -> Found:
    """An item every 10 ms."""
    rows = await paced.measure(options.rounds, options.paced_items, progress)
    return [report.paced_table(rows)], report.of_paced(rows)


async def stalled_part(options: argparse.Namespace, progress: Progress) -> Found:
    """Clients that stop reading, one after the other."""
    stalls = []
    for name in stalled.NAMES:
        progress(f"{name}: a client stops reading for {options.stall_seconds:g} s")
        stalls.append(await stalled.stall(name, options.stall_seconds))
    return [report.stalls_table(stalls, options.stall_seconds)], report.of_stalls(stalls)


async def starts_part(options: argparse.Namespace, progress: Progress) -> Found:
    """Starts, one after the other and many at once."""
    rows, rates = await starts.measure(options.start_rounds, options.at_once, progress)
    return [report.starts_table(rows), report.rates_table(rates)], report.of_starts(rows, rates)


async def detached_part(options: argparse.Namespace, progress: Progress) -> Found:
    """Detached runs without a store."""
    left = await detached.measure(options.detached_runs, options.detached_outputs, progress)
    return [], [report.of_detached(left)]


PARTS: dict[str, Callable[[argparse.Namespace, Progress], Awaitable[Found]]] = {
    "throughput": throughput_part,
    "paced": paced_part,
    "stalled": stalled_part,
    "starts": starts_part,
    "detached": detached_part,
}
QUICK: dict[str, float] = {
    "rounds": 1,
    "seconds": 0.3,
    "paced_items": 50,
    "stall_seconds": 6,
    "start_rounds": 1,
    "at_once": 50,
}
QUICK |= {"detached_runs": 5, "detached_outputs": 2_000}
WHOLE: dict[str, float] = {"stall_seconds": 180, "detached_runs": 100, "detached_outputs": 100_000}


async def measure(options: argparse.Namespace, progress: Progress) -> Found:
    """The tables and verdicts of the chosen parts."""
    tables: list[Table] = []
    verdicts: list[Verdict] = []
    for part in options.parts or PARTS:
        progress(f"{part}:")
        found = await PARTS[part](options, progress)
        tables += found[0]
        verdicts += found[1]
    return tables, verdicts


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON instead of the tables")
    parser.add_argument("--quick", action="store_true", help="few and small rounds, to see that all parts work")
    parser.add_argument(
        "--whole", action="store_true", help="stalls of three minutes, 100 detached runs of 100,000 outputs"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of throughput and of paced items (default 5)")
    parser.add_argument("--seconds", type=float, default=1, help="length of a throughput run (default 1)")
    parser.add_argument("--paced-items", type=int, default=150, help="items of a paced run (default 150)")
    parser.add_argument("--stall-seconds", type=float, default=15, help="how long a client does not read (default 15)")
    parser.add_argument("--start-rounds", type=int, default=2, help="rounds of starts (default 2)")
    parser.add_argument("--at-once", type=int, default=200, help="most runs that are started at once (default 200)")
    parser.add_argument("--detached-runs", type=int, default=20, help="detached runs at once (default 20)")
    parser.add_argument("--detached-outputs", type=int, default=20_000, help="outputs of each (default 20,000)")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them by default")
    parser.set_defaults(**_preset(sys.argv[1:]))
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


def main() -> int:
    """The command line; the exit status."""
    options = arguments()
    tables, verdicts = asyncio.run(measure(options, console(stderr=True).print))
    if options.json:
        print(verdicts_json(verdicts))
    else:
        for table in (*tables, verdicts_table(verdicts)):
            console().print(table)
    return status(verdicts)


def _preset(words: list[str]) -> dict[str, float]:
    """The defaults that `--quick` or `--whole` change."""
    return QUICK if "--quick" in words else WHOLE if "--whole" in words else {}


if __name__ == "__main__":
    sys.exit(main())
