"""What the web gateway adds to a mesh: `python benchmarks/gateway.py`.

`lanemesh serve` with node servers, and `lanemesh gateway`, a process each. The gRPC client and server-sent events run the same
deployed pipelines, one right after the other, and the client reads every item. A bare relay of uvicorn, starlette and grpc.aio
shows what such an endpoint costs at least. Idle clients show what each of them occupies in the gateway. Prints each value beside
its target and exits 1 if one is missed. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from rich.table import Table

from chain.report import Verdict, console, status, verdicts_json, verdicts_table
from gateways import delivery, idle, report
from gateways.served import web

PARTS = ("delivery", "idle")


async def measure(options: argparse.Namespace) -> tuple[list[Table], list[Verdict]]:
    """The tables and verdicts of the chosen parts."""
    progress = console(stderr=True).print
    tables: list[Table] = []
    verdicts: list[Verdict] = []
    for part in options.parts or PARTS:
        progress(f"{part}:")
        if part == "idle":
            verdicts += report.of_idle(await idle.measure(options.clients, progress))
            continue
        async with web() as served:
            found = await delivery.measure(served, options.rounds, options.runs, options.items, progress)
        tables.append(report.delivery_table(found))
        verdicts += report.of_delivery(found)
    return tables, verdicts


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON instead of the tables")
    parser.add_argument("--quick", action="store_true", help="few and small rounds, to see that all parts work")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all ways (default 5)")
    parser.add_argument("--runs", type=int, default=90, help="runs of a round whose first output is timed (default 90)")
    parser.add_argument("--items", type=int, default=500, help="items of each stream (default 500)")
    parser.add_argument("--clients", type=int, default=report.IDLE, help="idle clients of each kind (default 1,000)")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them by default")
    if "--quick" in sys.argv[1:]:
        parser.set_defaults(rounds=1, runs=12, items=50, clients=200)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


def main() -> int:
    """The command line; the exit status."""
    options = arguments()
    tables, verdicts = asyncio.run(measure(options))
    if options.json:
        print(verdicts_json(verdicts))
    else:
        for table in (*tables, verdicts_table(verdicts)):
            console().print(table)
    return status(verdicts)


if __name__ == "__main__":
    sys.exit(main())
