"""What TLS and tokens cost: `python benchmarks/security.py`.

The chain of `benchmarks/lanes.py` over four processes: without protection, with tokens, with mTLS, and with both. The rounds are
interleaved, and each cost is the median over the rounds of the ratio to the unprotected mesh of the same round. What counts is the
processor time of all processes for an item: the throughput of a busy machine varies by more than the targets. Exits 1 if a target
is missed.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil
from lanemesh._grpc.security import VARIABLES, Security
from lanemesh_orchestrator.certificates import Subject, make_certificates
from rich.table import Table

from chain import mesh
from chain.mesh import Lanemesh
from chain.report import Verdict, console, verdicts_table
from chain.work import Work

ITEMS, MEDIA = 300_000, 128
"""Texts, and values of 1 MiB, of a round of one mesh."""
TLS_COST, TOKEN_COST = 0.25, 0.02
"""Shares of the throughput of lanes that TLS and tokens may cost."""
NOISE = 0.03
"""Share by which the media of two equal meshes differ; added to the bound of tokens, whose cost is below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one mesh."""

    items_per_s: float
    item_us: float
    """Processor time of all processes for a text, in microseconds."""
    media_ms: float
    """The same for a value of 1 MiB, in milliseconds."""


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
async def started(settings: Mapping[str, Security]) -> AsyncIterator[list[Lanemesh]]:
    """A spread mesh for each of the settings, warm."""
    async with AsyncExitStack() as stack:
        systems: list[Lanemesh] = []
        for name, security in settings.items():
            with environment(security):
                system = await stack.enter_async_context(mesh.spread())
                system.name = name
                await sample(system, ITEMS // 10, 8)
            systems.append(system)
        yield systems


async def sample(system: Lanemesh, items: int, media_items: int) -> Sample:
    """Moves texts, then values of 1 MiB."""
    began, used = time.perf_counter(), processor_seconds()
    last = [result async for result in system.results(Work(items=items, every=10_000))][-1]
    assert last.split(" ", 1)[0] == str(items), f"{system.name} lost items: {last}"
    wall, cpu = time.perf_counter() - began, processor_seconds() - used
    media_used = processor_seconds()
    async for _ in system.media(media_items):
        pass
    media_cpu = processor_seconds() - media_used
    return Sample(items_per_s=items / wall, item_us=1e6 * cpu / items, media_ms=1e3 * media_cpu / media_items)


def processor_seconds() -> float:
    """The processor time of this process and those that it has started, which only one mesh uses at a time."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def judge(samples: Mapping[str, list[Sample]]) -> list[Verdict]:
    """The targets."""

    def verdict(what: str, name: str, bound: float, value: Callable[[Sample], float]) -> Verdict:
        pairs = zip(samples[name], samples["open"], strict=True)
        ratio = median(value(protected) / value(unprotected) for protected, unprotected in pairs)
        # What an item costs more is what is missing of the throughput.
        return Verdict(what=what, value=100 * (1 - 1 / ratio), bound=100 * bound, at_least=False, unit="%")

    def text(found: Sample) -> float:
        return found.item_us

    def media(found: Sample) -> float:
        return found.media_ms

    return [
        verdict("tokens cost, texts", "tokens", TOKEN_COST, text),
        verdict("tokens cost, media", "tokens", TOKEN_COST + NOISE, media),
        verdict("mTLS costs, texts", "mtls", TLS_COST, text),
        verdict("mTLS and tokens cost, texts", "mtls-tokens", TLS_COST, text),
    ]


def rows_table(samples: Mapping[str, list[Sample]]) -> Table:
    """The medians of the rounds."""
    table = Table(title="source, upper-case, count, client; medians of the rounds")
    table.add_column("mesh")
    for heading in ("items/s", "processor us/item", "processor ms/MiB of media"):
        table.add_column(heading, justify="right")
    for name, found in samples.items():
        table.add_row(
            name,
            f"{median(one.items_per_s for one in found):,.0f}",
            f"{median(one.item_us for one in found):.2f}",
            f"{median(one.media_ms for one in found):.2f}",
        )
    return table


async def measure(folder: Path, rounds: int, load: float) -> dict[str, list[Sample]]:
    """The samples of each mesh."""
    progress = console(stderr=True)
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    async with started(meshes(folder)) as systems:
        for number in range(1, rounds + 1):
            for system in systems[:: 1 if number % 2 else -1]:
                progress.print(f"round {number} of {rounds}: {system.name}")
                samples[system.name].append(await sample(system, round(ITEMS * load), max(8, round(MEDIA * load))))
    return {system: samples[system] for system in ("open", "tokens", "mtls", "mtls-tokens")}


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON instead of the tables")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each mesh (default 5)")
    parser.add_argument("--load", type=float, default=1.0, help="share of the usual number of items (default 1)")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all meshes work")
    if "--quick" in sys.argv:
        parser.set_defaults(rounds=1, load=0.1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples = asyncio.run(measure(Path(folder), arguments.rounds, arguments.load))
    verdicts = judge(samples)
    if arguments.json:
        print(json.dumps([{"what": v.what, "value": v.value, "bound": v.bound, "met": v.met} for v in verdicts]))
    else:
        out = console()
        out.print(rows_table(samples))
        out.print(verdicts_table(verdicts))
    return 0 if all(v.met for v in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
