"""What TLS and tokens cost: `python benchmarks/security.py`.

The chain of `benchmarks/lanes.py` over four processes: without protection, with tokens, with mTLS, and with both. Each short
measurement of a protected chain is between two of the unprotected one. The cost in a start of the processes is the median of the
ratios to these two. Equal processes differ by up to a tenth from start to start, so all are started several times, and each cost
is the mean over the starts, with its standard error.

What counts is the processor time of all processes for an item: the throughput of a busy machine varies by more than the targets,
and is shown beside it. Exits 1 if a target is missed by more than docs/decisions.md documents.
"""

import argparse
import asyncio
import itertools
import math
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev

import psutil
from lanemesh._grpc.security import VARIABLES, Security
from lanemesh_orchestrator.certificates import Subject, make_certificates
from rich.table import Table

from chain import mesh
from chain.mesh import Lanemesh
from chain.report import Verdict, console, status, verdicts_json, verdicts_table
from chain.work import Work

LOAD, MEDIA = 0.2, 32
"""The share of the usual texts of a chain, and values of 1 MiB, of one measurement."""
TLS_COST, TOKEN_COST = 0.25, 0.02
"""Shares of the throughput of lanes that TLS and tokens may cost."""
NOISE = 0.03
"""Share by which the media of two equal meshes differ; added to the bound of tokens, whose cost is below it."""

OPEN, PROTECTED = "open", ("tokens", "mtls", "mtls-tokens")
"""The unprotected chain, and the protected ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement of a chain."""

    items_per_s: float
    item_us: float
    """Processor time of all processes for a text, in microseconds."""
    mib_per_s: float
    """The rate of values of 1 MiB."""
    mib_ms: float
    """The processor time for one of them, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A measurement of a protected chain, between two of the unprotected one."""

    before: Sample
    protected: Sample
    after: Sample

    def ratio(self, value: str) -> float:
        """Of a field of samples: that of the protected mesh to the mean of the others."""
        before, protected, after = (float(getattr(one, value)) for one in (self.before, self.protected, self.after))
        return protected / mean((before, after))


Starts = Sequence[Sequence[Comparison]]
"""The comparisons of a protected chain in each start of the processes."""


def meshes(folder: Path) -> dict[str, Security]:
    """The settings of each mesh."""
    make_certificates(folder, [Subject(name="member")])
    token = secrets.token_hex(32)
    auth = folder / "auth.toml"
    auth.write_text(f'[[tokens]]\nname = "member"\ntoken = "{token}"\nscopes = ["node"]\n')
    tls = Security(cert=folder / "member.pem", key=folder / "member.key", ca=folder / "ca.pem", mtls=True)
    return {
        "open": Security(),
        "tokens": Security(auth=auth, token=token),
        "mtls": tls,
        "mtls-tokens": replace(tls, auth=auth, token=token),
    }


@contextmanager
def environment(security: Security) -> Iterator[None]:
    """The environment variables of some settings."""
    before = {name: os.environ.get(name, "") for name in VARIABLES}
    os.environ.update(security.environment())
    try:
        yield
    finally:
        os.environ.update(before)


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[dict[str, Lanemesh]]:
    """All chains, warm."""
    async with AsyncExitStack() as stack:
        chains: dict[str, Lanemesh] = {}
        for name, security in meshes(folder).items():
            with environment(security):
                system = await stack.enter_async_context(mesh.spread())
            system.name = name
            chains[name] = system
        for one in chains.values():
            await sample(one, LOAD / 2, 8)
        yield chains


async def sample(chain: Lanemesh, load: float, media_items: int) -> Sample:
    """Moves a share of the usual texts, then values of 1 MiB."""

    async def moved(results: AsyncIterator[str], count: int) -> tuple[float, float]:
        """Items per second, and seconds of processor time for one."""
        began, used = time.perf_counter(), processor_seconds()
        last = [result async for result in results][-1]
        assert last.split(" ", 1)[0] == str(count), f"{chain.name} lost items: {last}"
        return count / (time.perf_counter() - began), (processor_seconds() - used) / count

    items = round(load * chain.load)
    items_per_s, item_s = await moved(chain.results(Work(items=items, every=10_000)), items)
    mib_per_s, mib_s = await moved(chain.media(media_items), media_items)
    return Sample(items_per_s=items_per_s, item_us=1e6 * item_s, mib_per_s=mib_per_s, mib_ms=1e3 * mib_s)


def processor_seconds() -> float:
    """The processor time of this process and those that it has started, which only one chain uses at a time.

    It is read from the processor-time clocks of the processes (clock_getcpuclockid(3)): /proc counts in steps of 10 ms.
    """
    own = psutil.Process()
    return sum(time.clock_gettime(~process.pid << 3 | 2) for process in (own, *own.children(recursive=True)))


def cost(found: Starts, value: str) -> float:
    """The share of the throughput that a protection costs, by a field of samples: processor time, or a rate."""
    return mean(_costs(found, value))


def margin(found: Starts, value: str) -> float:
    """The standard error of a cost, from the differences of the starts; 0 if there is only one."""
    costs = _costs(found, value)
    return stdev(costs) / math.sqrt(len(costs)) if len(costs) > 1 else 0.0


def _costs(found: Starts, value: str) -> list[float]:
    """The cost in each start."""
    ratios = [median(one.ratio(value) for one in comparisons) for comparisons in found]
    # What an item costs more is what is missing of the throughput.
    return [1 - ratio if value.endswith("per_s") else 1 - 1 / ratio for ratio in ratios]


def judge(found: Mapping[str, Starts]) -> list[Verdict]:
    """The targets."""

    def verdict(what: str, name: str, bound: float, value: str) -> Verdict:
        what = f"{what} (± {100 * margin(found[name], value):.1f})"
        return Verdict(what=what, value=100 * cost(found[name], value), bound=100 * bound, at_least=False, unit="%")

    return [
        verdict("tokens cost, texts", "tokens", TOKEN_COST, "item_us"),
        verdict("tokens cost, media", "tokens", TOKEN_COST + NOISE, "mib_ms"),
        verdict("mTLS costs, texts", "mtls", TLS_COST, "item_us"),
        verdict("mTLS costs, media", "mtls", TLS_COST, "mib_ms"),
        verdict("mTLS and tokens cost, texts", "mtls-tokens", TLS_COST, "item_us"),
    ]


COLUMNS = (
    ("items/s", "items_per_s", ",.0f"),
    ("processor us/item", "item_us", ".2f"),
    ("media MiB/s", "mib_per_s", ",.0f"),
    ("processor ms/MiB", "mib_ms", ".2f"),
)
"""The columns of the table: heading, field of samples, format."""


def rows_table(found: Mapping[str, Starts]) -> Table:
    """The medians of each chain, and what each protection costs by each measure."""
    table = Table(title="source, upper-case, count, client; medians, and what is missing of the throughput")
    table.add_column("chain")
    for heading, _, _ in COLUMNS:
        table.add_column(heading, justify="right")
    unprotected = [one.before for starts in found.values() for one in itertools.chain.from_iterable(starts)]
    table.add_row(OPEN, *(format(_median(unprotected, value), shape) for _, value, shape in COLUMNS))
    for name, starts in found.items():
        samples = [one.protected for one in itertools.chain.from_iterable(starts)]
        cells = (
            f"{_median(samples, value):{shape}} ({100 * cost(starts, value):+.0f} %)" for _, value, shape in COLUMNS
        )
        table.add_row(name, *cells)
    return table


def _median(samples: Iterable[Sample], value: str) -> float:
    return median(float(getattr(one, value)) for one in samples)


async def measure(folder: Path, starts: int, rounds: int, load: float) -> dict[str, list[list[Comparison]]]:
    """The comparisons of each protected chain, in each start."""
    progress = console(stderr=True)
    found: dict[str, list[list[Comparison]]] = {name: [] for name in PROTECTED}
    for start in range(1, starts + 1):
        async with started(folder) as chains:

            async def measured(name: str, chains: Mapping[str, Lanemesh] = chains) -> Sample:
                return await sample(chains[name], LOAD * load, max(8, round(MEDIA * load)))

            before = await measured(OPEN)
            for comparisons in found.values():
                comparisons.append([])
            for number in range(1, rounds + 1):
                progress.print(f"start {start} of {starts}, round {number} of {rounds}")
                for name, comparisons in found.items():
                    protected, after = await measured(name), await measured(OPEN)
                    comparisons[-1].append(Comparison(before, protected, after))
                    before = after
    return found


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON instead of the tables")
    parser.add_argument("--starts", type=int, default=6, help="starts of all processes (default 6)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in each start (default 5)")
    parser.add_argument("--load", type=float, default=1.0, help="share of the usual items (default 1)")
    parser.add_argument("--quick", action="store_true", help="two short rounds, to see that all chains work")
    if "--quick" in sys.argv:
        parser.set_defaults(starts=1, rounds=2, load=0.1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), arguments.starts, arguments.rounds, arguments.load))
    verdicts = judge(found)
    if arguments.json:
        print(verdicts_json(verdicts))
    else:
        out = console()
        out.print(rows_table(found))
        out.print(verdicts_table(verdicts))
    return status(verdicts)


if __name__ == "__main__":
    sys.exit(main())
