"""What continuous batching gains: `python benchmarks/batching.py`.

Eight runs at once through one mesh, whose llm server has `llm_transformers` loaded (SmolLM2 in bfloat16, 48 tokens a run),
against one run alone; medians of five interleaved rounds. Prints each value beside its target and exits 1 if it is missed.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from lanemesh import LanemeshError
from lanemesh_orchestrator import Mesh
from rich.table import Table

from chain.report import Verdict, console, status, verdicts_table

TOKENS = 48
RUNS = 8
ROUNDS = 5
TARGET = 3.0
QUESTIONS = (
    "Why is the sky blue?",
    "How does a river find its way to the sea?",
    "Tell me the story of a lighthouse.",
    "What do bees do in winter?",
    "Explain how bread is baked.",
    "Describe a market in the morning.",
    "How do birds find their way south?",
    "What makes a good bridge?",
)


PIPELINE: dict[str, Any] = {
    "components": [
        {"id": "chat", "provider": "chat"},
        {
            "id": "llm",
            "provider": "llm_transformers",
            "config": {"profile": "smollm2", "dtype": "bfloat16", "temperature": 0, "max_tokens": TOKENS},
            "input": [{"lane": "questions", "from": "chat"}],
        },
        {
            "id": "client",
            "provider": "response",
            "config": {"lane": "answers"},
            "input": [{"lane": "answers", "from": "llm"}],
        },
    ]
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """The medians of the rounds with so many runs at once."""

    runs: int
    tokens_per_s: float
    """Of all runs together."""
    first_token_ms: float
    """Of the slowest run, from its start."""


@dataclass(frozen=True)
class Sample:
    """One round."""

    tokens_per_s: float
    first_token_ms: float


async def one_run(mesh: Mesh, question: str) -> tuple[int, float]:
    """One run, from its start to its end: how many tokens were written, and how long the first took, in ms."""
    started, first, tokens = time.perf_counter(), 0.0, 0
    async with aclosing(mesh.run(PIPELINE, input=question).values()) as pieces:
        async for piece in pieces:
            first = first or (time.perf_counter() - started) * 1e3
            if piece.usage is not None:
                tokens += piece.usage.completion_tokens
    return tokens, first


async def one_round(mesh: Mesh, questions: Sequence[str]) -> Sample:
    """All questions at once, each a run of its own."""
    started = time.perf_counter()
    done = await asyncio.gather(*(one_run(mesh, question) for question in questions))
    elapsed = time.perf_counter() - started
    return Sample(sum(tokens for tokens, _ in done) / elapsed, max(first for _, first in done))


async def measure(rounds: int) -> list[Row]:
    """A row for one run alone, and one for eight at once."""
    async with Mesh(spread="service") as mesh:
        await one_round(mesh, QUESTIONS)  # loads the model; the first steps of torch are slow
        samples: dict[int, list[Sample]] = {1: [], RUNS: []}
        for place in range(rounds):
            samples[1].append(await one_round(mesh, QUESTIONS[place : place + 1]))
            samples[RUNS].append(await one_round(mesh, QUESTIONS[:RUNS]))
    return [
        Row(
            runs=runs,
            tokens_per_s=median(sample.tokens_per_s for sample in taken),
            first_token_ms=median(sample.first_token_ms for sample in taken),
        )
        for runs, taken in samples.items()
    ]


def judge(rows: Sequence[Row]) -> Verdict:
    """The target of batching."""
    alone, together = rows
    what = f"{together.runs} runs at once against one, tokens/s"
    return Verdict(what=what, value=together.tokens_per_s / alone.tokens_per_s, bound=TARGET, at_least=True)


def rows_table(rows: Sequence[Row]) -> Table:
    """The table of values."""
    table = Table(title=f"llm_transformers, SmolLM2, bfloat16, {TOKENS} tokens; medians of the rounds")
    for heading in ("runs at once", "tokens/s", "tokens/s each", "first token ms"):
        table.add_column(heading, justify="right")
    for row in rows:
        each = row.tokens_per_s / row.runs
        table.add_row(str(row.runs), f"{row.tokens_per_s:.1f}", f"{each:.1f}", f"{row.first_token_ms:.0f}")
    return table


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the values as JSON instead of the tables")
    parser.add_argument("--quick", action="store_true", help="one round, to see that it works")
    arguments = parser.parse_args()
    try:
        rows = asyncio.run(measure(1 if arguments.quick else ROUNDS))
    except LanemeshError as error:
        print(error, file=sys.stderr)
        return 1
    verdict = judge(rows)
    if arguments.json:
        values = {"rows": [asdict(row) for row in rows], "target": asdict(verdict) | {"met": verdict.met}}
        print(json.dumps(values, indent=2))
    else:
        console().print(rows_table(rows))
        console().print(verdicts_table([verdict]))
    return status([verdict])


if __name__ == "__main__":
    sys.exit(main())
