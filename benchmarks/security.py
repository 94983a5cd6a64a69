"""What TLS and tokens cost: `python benchmarks/security.py`.

The chain of `benchmarks/lanes.py` over four processes: without protection, with tokens, with mTLS, and with both. Each short
measurement of a protected mesh is between two of the unprotected one, and each cost is the median over the rounds of the ratio to
these two. What counts is the processor time of all processes for an item: the throughput of a busy machine varies by more than the
targets, and is shown beside it. Exits 1 if a target is missed.
"""

import argparse
import asyncio
import json
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
from statistics import mean, median, quantiles

import psutil
from lanemesh._grpc.security import VARIABLES, Security
from lanemesh_orchestrator.certificates import Subject, make_certificates
from rich.table import Table

from chain import mesh
from chain.mesh import Lanemesh
from chain.report import Verdict, console, verdicts_table
from chain.work import Work

ITEMS, MEDIA = 60_000, 32
"""Texts, and values of 1 MiB, of one measurement of a mesh."""
TLS_COST, TOKEN_COST = 0.25, 0.02
"""Shares of the throughput of lanes that TLS and tokens may cost."""
NOISE = 0.03
"""Share by which the media of two equal meshes differ; added to the bound of tokens, whose cost is below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement of a mesh."""

    items_per_s: float
    item_us: float
    """Processor time of all processes for a text, in microseconds."""
    mib_per_s: float
    """The rate of values of 1 MiB."""
    mib_ms: float
    """The processor time for one of them, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A measurement of a protected mesh, between two of the unprotected one."""

    before: Sample
    protected: Sample
    after: Sample

    def ratio(self, value: str) -> float:
        """Of a field of samples: that of the protected mesh to the mean of the others."""
        before, protected, after = (float(getattr(one, value)) for one in (self.before, self.protected, self.after))
        return protected / mean((before, after))


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
async def started(settings: Mapping[str, Security]) -> AsyncIterator[dict[str, Lanemesh]]:
    """A spread mesh for each of the settings, warm."""
    async with AsyncExitStack() as stack:
        systems: dict[str, Lanemesh] = {}
        for name, security in settings.items():
            with environment(security):
                system = await stack.enter_async_context(mesh.spread())
                system.name = name
                await sample(system, ITEMS // 2, 8)
            systems[name] = system
        yield systems


async def sample(system: Lanemesh, items: int, media_items: int) -> Sample:
    """Moves texts, then values of 1 MiB."""

    async def moved(results: AsyncIterator[str], count: int) -> tuple[float, float]:
        """Items per second, and seconds of processor time for one."""
        began, used = time.perf_counter(), processor_seconds()
        last = [result async for result in results][-1]
        assert last.split(" ", 1)[0] == str(count), f"{system.name} lost items: {last}"
        return count / (time.perf_counter() - began), (processor_seconds() - used) / count

    items_per_s, item_s = await moved(system.results(Work(items=items, every=10_000)), items)
    mib_per_s, mib_s = await moved(system.media(media_items), media_items)
    return Sample(items_per_s=items_per_s, item_us=1e6 * item_s, mib_per_s=mib_per_s, mib_ms=1e3 * mib_s)


def processor_seconds() -> float:
    """The processor time of this process and those that it has started, which only one mesh uses at a time.

    It is read from the processor-time clocks of the processes (clock_getcpuclockid(3)): /proc counts in steps of 10 ms.
    """
    own = psutil.Process()
    return sum(time.clock_gettime(~process.pid << 3 | 2) for process in (own, *own.children(recursive=True)))


def cost(found: Sequence[Comparison], value: str) -> float:
    """The share of the throughput that a protection costs, by a field of samples: processor time, or a rate."""
    ratio = median(one.ratio(value) for one in found)
    # What an item costs more is what is missing of the throughput.
    return 1 - ratio if value.endswith("per_s") else 1 - 1 / ratio


def margin(found: Sequence[Comparison], value: str) -> float:
    """The standard error of a median ratio, as a share; 0 if there is only one. It is wide where other work disturbs the rounds."""
    ratios = [one.ratio(value) for one in found]
    if len(ratios) < 2:
        return 0.0
    low, _, high = quantiles(ratios, n=4)
    # Of a normal distribution the spread is 0.74 of this range, and the error of the median 1.25 of that of the mean.
    return 0.93 * (high - low) / math.sqrt(len(ratios))


def judge(found: Mapping[str, Sequence[Comparison]]) -> list[Verdict]:
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


def rows_table(found: Mapping[str, Sequence[Comparison]]) -> Table:
    """The medians of each mesh, and what each protection costs by each measure."""
    table = Table(title="source, upper-case, count, client; medians, and what is missing of the throughput")
    table.add_column("mesh")
    for heading, _, _ in COLUMNS:
        table.add_column(heading, justify="right")
    unprotected = [one.before for pairs in found.values() for one in pairs]
    table.add_row("open", *(format(_median(unprotected, value), shape) for _, value, shape in COLUMNS))
    for name, pairs in found.items():
        samples = [one.protected for one in pairs]
        cells = (
            f"{_median(samples, value):{shape}} ({100 * cost(pairs, value):+.0f} %)" for _, value, shape in COLUMNS
        )
        table.add_row(name, *cells)
    return table


def _median(samples: Iterable[Sample], value: str) -> float:
    return median(float(getattr(one, value)) for one in samples)


async def measure(folder: Path, rounds: int, load: float) -> dict[str, list[Comparison]]:
    """The comparisons of each protected mesh."""
    progress = console(stderr=True)
    found: dict[str, list[Comparison]] = {"tokens": [], "mtls": [], "mtls-tokens": []}
    async with started(meshes(folder)) as systems:

        async def measured(name: str) -> Sample:
            return await sample(systems[name], round(ITEMS * load), max(8, round(MEDIA * load)))

        before = await measured("open")
        for number in range(1, rounds + 1):
            progress.print(f"round {number} of {rounds}")
            for name, comparisons in found.items():
                protected, after = await measured(name), await measured("open")
                comparisons.append(Comparison(before, protected, after))
                before = after
    return found


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON instead of the tables")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each mesh (default 15)")
    parser.add_argument("--load", type=float, default=1.0, help="share of the usual items (default 1)")
    parser.add_argument("--quick", action="store_true", help="three short rounds, to see that all meshes work")
    if "--quick" in sys.argv:
        parser.set_defaults(rounds=3, load=0.1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), arguments.rounds, arguments.load))
    verdicts = judge(found)
    if arguments.json:
        print(json.dumps([{"what": v.what, "value": v.value, "bound": v.bound, "met": v.met} for v in verdicts]))
    else:
        out = console()
        out.print(rows_table(found))
        out.print(verdicts_table(verdicts))
    return 0 if all(v.met for v in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
