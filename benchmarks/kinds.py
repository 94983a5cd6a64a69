"""What each kind of node costs: `python benchmarks/kinds.py`.

Small texts go through the chain source, upper-case, count, client in one process, whose middle two stages are nodes of one
kind; beside it the same chain of nothing but deques and futures. That is measured anew before each of the others: a machine's speed
changes within seconds, and a share compares neighbours. Exits 1 if a target is missed.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from itertools import count
from statistics import median

from lanemesh_orchestrator import Mesh
from rich.table import Table

from chain.in_process import InProcess
from chain.mesh import NODES, chain
from chain.report import Verdict, console, status, verdicts_table
from chain.systems import System, WrongResult
from chain.work import Work

KINDS: Mapping[str, tuple[str, int, float | None]] = {
    "process, async": ("async", 100_000, 0.2),
    "process, sync": ("sync", 60_000, 0.1),
    "gen_process, async": ("generate", 30_000, None),
    "gen_process, sync": ("generate_sync", 15_000, 0.05),
    "run": ("", 150_000, 0.3),
}
"""Name of a row; end of its providers' names; items that keep it busy for about half a second; least share of `in-process`."""


class Chain:
    """The chain with nodes of one kind."""

    def __init__(self, name: str, mesh: Mesh) -> None:
        ending, self.load, _ = KINDS[name]
        self.name = name
        self._mesh = mesh
        kind = (f"kind_upper_{ending}", f"kind_count_{ending}") if ending else ("chain_upper", "chain_count")
        self._stages = ("chain_source", *kind)
        self._runs = count(1)

    async def results(self, work: Work) -> AsyncGenerator[str, None]:
        """Runs the pipeline."""
        pipeline = chain("text", self._stages, work)
        if self._stages[2] != "chain_count":
            pipeline["components"][3]["config"] = {**pipeline["components"][3]["config"], "run": next(self._runs)}
        async with aclosing(self._mesh.run(pipeline, input="go").values()) as outputs:
            async for text in outputs:
                yield text


@dataclass(frozen=True, kw_only=True)
class Row:
    """The medians of a kind's rounds."""

    kind: str
    items_per_s: float
    share: float
    """Of what `in-process` did just before."""


async def items_per_s(system: System, items: int) -> float:
    """One round of a system. Raises WrongResult if an item was lost."""
    started = time.perf_counter()
    results = [result async for result in system.results(Work(items=items, every=items))]
    elapsed = time.perf_counter() - started
    if len(results) != 1 or not results[0].startswith(f"{items} "):
        raise WrongResult(f"{system.name} was given {items} items, and its results are {results!r:.80}")
    return items / elapsed


async def measure(names: Sequence[str], rounds: int, load: float) -> list[Row]:
    """The rows of the named kinds, and before them that of `in-process`."""
    progress = console(stderr=True)
    rates: defaultdict[str, list[float]] = defaultdict(list)
    shares: defaultdict[str, list[float]] = defaultdict(list)
    alone = InProcess()

    async def rate(system: System, load: float) -> float:
        return await items_per_s(system, max(1, int(system.load * load)))

    async with Mesh(nodes=[NODES, NODES.with_name("kinds.py")]) as mesh:
        systems = [Chain(name, mesh) for name in names]
        for system in systems:
            await rate(system, 0.02)
        gc.freeze()  # as the commands do when they have begun
        for number in range(1, rounds + 1):
            progress.print(f"round {number} of {rounds}")
            for system in systems:
                before = await rate(alone, load / 3)
                rates[alone.name].append(before)
                rates[system.name].append(await rate(system, load))
                shares[system.name].append(rates[system.name][-1] / before)
    shares[alone.name] = [1.0]
    return [Row(kind=name, items_per_s=median(of), share=median(shares[name])) for name, of in rates.items()]


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """The targets of those kinds that have one."""
    return [
        Verdict(
            what=f"{row.kind} against in-process, items/s",
            value=row.share,
            bound=KINDS[row.kind][2] or 0,
            at_least=True,
        )
        for row in rows
        if row.kind in KINDS and KINDS[row.kind][2] is not None
    ]


def rows_table(rows: Sequence[Row]) -> Table:
    """The table of values."""
    table = Table(title="source, upper-case, count, client in one process; medians of the rounds")
    table.add_column("kind of the middle two")
    table.add_column("items/s", justify="right")
    table.add_column("of in-process", justify="right")
    for row in rows:
        table.add_row(row.kind, f"{row.items_per_s:,.0f}", f"{row.share:.3f} x")
    return table


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of the tables")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each kind (default 9)")
    parser.add_argument("--load", type=float, default=1.0, help="share of the usual number of items (default 1)")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all kinds work")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {'; '.join(KINDS)}; all of them by default")
    if "--quick" in sys.argv:
        parser.set_defaults(rounds=1, load=0.1)
    arguments = parser.parse_args()
    if unknown := set(arguments.kinds) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}; there are {'; '.join(KINDS)}")
    rows = asyncio.run(measure(arguments.kinds or list(KINDS), arguments.rounds, arguments.load))
    verdicts = judge(rows)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        out = console()
        out.print(rows_table(rows))
        out.print(verdicts_table(verdicts))
    return status(verdicts)


if __name__ == "__main__":
    sys.exit(main())
