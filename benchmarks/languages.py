"""Clients and node servers of every language against each other: `python benchmarks/languages.py`.

Prints the latency of one item and the items a second of a stream, client language x node language; the rate of the chain
Python -> TypeScript -> Go -> Python beside its target; and for each language the rate and the processor time of a chain that it
alone is between, which shows the slowest part. Languages that are not built here are left out, with a line that says so. Exits 1 if
the target is missed. Takes about a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lanemesh import Client
from psutil import Process
from rich.console import Console
from rich.table import Table

from chain.report import Verdict, console, status, verdicts_table
from chain.systems import percentile
from speaking.mesh import PASSING, clients, mesh, run_client

CHAIN_ITEMS_PER_S = 50_000
"""The target of the chain."""


def pipeline(providers: Sequence[str]) -> dict[str, Any]:
    """A chat, these components one after the other, and a response."""
    components: list[dict[str, Any]] = [{"id": "chat", "provider": "chat"}]
    for number, provider in enumerate(providers, 1):
        edge = {"lane": "text", "from": components[-1]["id"]}
        components.append({"id": f"c{number}", "provider": provider, "input": [edge]})
    edge = {"lane": "text", "from": components[-1]["id"]}
    components.append({"id": "out", "provider": "response", "config": {"lane": "text"}, "input": [edge]})
    return {"components": components}


async def matrix(
    address: str, languages: Sequence[str], folder: Path, options: argparse.Namespace, screen: Console
) -> list[Table]:
    """The latencies and the rates."""
    latencies = Table("client", *(f"{language} node" for language in languages), title="one item, ms: p50 / p99")
    rates = Table("client", *(f"{language} node" for language in languages), title="a stream, items a second")
    for client, command in clients().items():
        latency, rate = [], []
        for language in languages:
            one, stream = folder / "one.pipe", folder / "stream.pipe"
            one.write_text(json.dumps(pipeline([PASSING[language]])))
            stream.write_text(json.dumps(pipeline(["bench_texts", PASSING[language]])))
            screen.print(f"{client} client, {language} node")
            await run_client(command, address, one, "warm", 5)
            found = await run_client(command, address, one, "hello", options.requests)
            latency.append(f"{median(found.milliseconds):.1f} / {percentile(found.milliseconds, 0.99):.1f}")
            found = await run_client(command, address, stream, str(options.items), options.rounds)
            if found.outputs != options.items * options.rounds:
                raise RuntimeError(f"{client} client, {language} node: {found.outputs} outputs arrived")
            rate.append(f"{options.items / (median(found.milliseconds) / 1000):,.0f}")
        latencies.add_row(client, *latency)
        rates.add_row(client, *rate)
    return [latencies, rates]


@dataclass(frozen=True)
class Passage:
    """One run of a stream of short texts."""

    items_per_s: float
    """From the first item at the last node to the last one."""
    item_us: Mapping[str, float]
    """Processor time of the server of each language for an item, in microseconds."""


def paths(languages: Sequence[str]) -> list[list[str]]:
    """The languages between source and counter: none, each alone, and those of the chain."""
    chain = [language for language in ("TypeScript", "Go") if language in languages]
    return [[], *([language] for language in languages), chain]


async def passages(
    address: str, servers: Mapping[str, Process], options: argparse.Namespace
) -> list[tuple[list[str], list[Passage]]]:
    """Runs each path once a round, so that other work on the machine disturbs all of them alike. A first round only warms them."""
    found: list[tuple[list[str], list[Passage]]] = [(path, []) for path in paths(list(servers))]
    async with Client(address) as client:
        for number in range(options.chain_rounds + 1):
            for path, results in found:
                providers = ["bench_texts", *(PASSING[language] for language in path), "bench_count"]
                before = {language: processor_seconds(server) for language, server in servers.items()}
                counted = json.loads(await client.request(pipeline(providers), str(options.chain_items)).text())
                spent = {language: processor_seconds(server) - before[language] for language, server in servers.items()}
                item_us = {language: 1e6 * seconds / options.chain_items for language, seconds in spent.items()}
                if number:
                    results.append(Passage(counted["items"] / counted["seconds"], item_us))
    return found


def processor_seconds(server: Process) -> float:
    """The processor time of a process so far."""
    times = server.cpu_times()
    return times.user + times.system


def passages_table(found: Sequence[tuple[list[str], list[Passage]]], languages: Sequence[str]) -> Table:
    """The medians of the rounds. Source and counter are nodes of the Python server, which the server of a hop adds to."""
    table = Table(title="a stream of short texts, from a Python source to a Python counter; medians of the rounds")
    table.add_column("between them")
    for heading in ("items/s", *(f"{language} us/item" for language in languages)):
        table.add_column(heading, justify="right")
    for path, results in found:
        spent = (f"{median(one.item_us[language] for one in results):.1f}" for language in languages)
        rate = median(one.items_per_s for one in results)
        table.add_row(" -> ".join(path) or "-", f"{rate:,.0f}", *spent)
    return table


async def main(options: argparse.Namespace) -> bool:
    """Measures, prints, and returns whether the target holds."""
    screen = console()
    with tempfile.TemporaryDirectory() as folder:
        async with mesh() as (address, servers):
            for missing in sorted(set(PASSING) - set(servers)):
                screen.print(f"{missing} is left out: it is not built here (make go, make cpp, make typescript)")
            tables = [] if options.chain else await matrix(address, list(servers), Path(folder), options, screen)
            found = await passages(address, servers, options)
    for table in (*tables, passages_table(found, list(servers))):
        screen.print(table)
    verdicts = judge(*found[-1])
    screen.print(verdicts_table(verdicts))
    return status(verdicts) == 0


def judge(path: Sequence[str], results: Sequence[Passage]) -> list[Verdict]:
    """The targets of the chain: its rate, and the processor time that leaves it this rate on one core, whatever else runs here."""
    name = f"the chain {' -> '.join(['Python', *path, 'Python'])}"
    rate = median(one.items_per_s for one in results)
    spent = median(sum(one.item_us.values()) for one in results)
    return [
        Verdict(what=name, value=rate, bound=CHAIN_ITEMS_PER_S, at_least=True, unit="items/s"),
        Verdict(what="its servers", value=spent, bound=1e6 / CHAIN_ITEMS_PER_S, at_least=False, unit="us/item"),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few requests and items")
    parser.add_argument("--chain", action="store_true", help="the chain and its parts alone")
    chosen = parser.parse_args()
    chosen.requests, chosen.rounds, chosen.chain_rounds = (30, 1, 3) if chosen.quick else (200, 3, 5)
    chosen.items, chosen.chain_items = (5_000, 50_000) if chosen.quick else (30_000, 100_000)
    sys.exit(not asyncio.run(main(chosen)))
