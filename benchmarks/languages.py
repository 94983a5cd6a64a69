"""Clients and node servers of every language against each other: `python benchmarks/languages.py`.

Prints the latency of one item and the items a second of a stream, client language x node language, and the rate of the chain
Python -> TypeScript -> Go -> Python beside its target. Languages that are not built here are left out, with a line that says so.
Exits 1 if the target is missed. Takes about a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lanemesh import Client
from rich.console import Console
from rich.table import Table

from chain.report import Verdict, console, verdicts_table
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


async def chain(address: str, languages: Sequence[str], options: argparse.Namespace) -> tuple[str, float]:
    """The languages of the chain and its items a second, from the first item at its last node to the last one."""
    between = [language for language in ("TypeScript", "Go") if language in languages]
    providers = ["bench_texts", *(PASSING[language] for language in between), "bench_count"]
    rates = []
    async with Client(address) as client:
        for _ in range(options.rounds):
            counted = json.loads(await client.request(pipeline(providers), str(options.chain_items)).text())
            rates.append(counted["items"] / counted["seconds"])
    return " -> ".join(["Python", *between, "Python"]), median(rates)


async def main(options: argparse.Namespace) -> bool:
    """Measures, prints, and returns whether the target holds."""
    screen = console()
    with tempfile.TemporaryDirectory() as folder:
        async with mesh() as (address, languages):
            for missing in sorted(set(PASSING) - set(languages)):
                screen.print(f"{missing} is left out: it is not built here (make go, make cpp, make typescript)")
            tables = await matrix(address, languages, Path(folder), options, screen)
            path, rate = await chain(address, languages, options)
    for table in tables:
        screen.print(table)
    verdict = Verdict(what=f"the chain {path}", value=rate, bound=CHAIN_ITEMS_PER_S, at_least=True, unit=" items/s")
    screen.print(verdicts_table([verdict]))
    return verdict.met


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few requests and items")
    chosen = parser.parse_args()
    chosen.requests, chosen.rounds = (30, 1) if chosen.quick else (200, 3)
    chosen.items, chosen.chain_items = (5_000, 20_000) if chosen.quick else (30_000, 200_000)
    sys.exit(not asyncio.run(main(chosen)))
