"""50 questions at once through the embedding node, against the library without batches: `python -m bundled.questions`.

All are of one run in a mesh of one process, and the node embeds those that wait together. The library alone embeds each question
by a call of its own. Beside them are 50 questions through the node one after another, each when the embedding of the last has
come, and the library with all questions in one call.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from statistics import median
from typing import Any

from lanemesh import LanemeshError, Question
from lanemesh_orchestrator import Mesh
from rich.table import Table

from chain.report import Verdict, console, verdicts_table

QUESTIONS = 50
ROUNDS = 5
TARGET = 5.0
PIPELINE: dict[str, Any] = {
    "source": "chat",
    "components": [
        {"id": "chat", "provider": "chat"},
        {
            "id": "embedding",
            "provider": "embedding_transformer",
            "input": [{"lane": "questions", "from": "chat"}],
        },
        {"id": "client", "provider": "response", "input": [{"lane": "questions", "from": "embedding"}]},
    ],
}


@dataclass(frozen=True, kw_only=True)
class Round:
    """Seconds for all questions."""

    at_once: float
    one_by_one: float
    library_at_once: float
    library_one_by_one: float


def asked() -> list[Question]:
    """The questions."""
    return [Question(f"How many passengers did the ferry carry on day {n}?") for n in range(QUESTIONS)]


async def at_once(mesh: Mesh) -> float:
    """Seconds from the first question to the last embedding."""
    async with mesh.run(PIPELINE, open_input=True) as run:
        async with aclosing(_values(run)) as values:
            await run.push(Question("warm"))
            await anext(values)
            started = time.perf_counter()
            feeding = asyncio.create_task(_fed(run))
            for _ in range(QUESTIONS):
                await anext(values)
            elapsed = time.perf_counter() - started
            await feeding
        await run.result()
    return elapsed


async def one_by_one(mesh: Mesh) -> float:
    """The same, with each question after the embedding of the last."""
    async with mesh.run(PIPELINE, open_input=True) as run:
        async with aclosing(_values(run)) as values:
            await run.push(Question("warm"))
            await anext(values)
            started = time.perf_counter()
            for question in asked():
                await run.push(question)
                await anext(values)
            elapsed = time.perf_counter() - started
        await run.end_input()
        await run.result()
    return elapsed


async def _fed(run: Any) -> None:
    for question in asked():
        await run.push(question)
    await run.end_input()


async def _values(run: Any) -> AsyncGenerator[Any, None]:
    async for value in run.values():
        yield value


class Library:
    """The library alone."""

    def __init__(self) -> None:
        from lanemesh_services.shared.models import locate
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(locate("minilm")), local_files_only=True)
        self.seconds(64)

    def seconds(self, batch: int) -> float:
        """Seconds for all questions, so many in one call."""
        texts = [question.text for question in asked()]
        started = time.perf_counter()
        for start in range(0, len(texts), batch):
            self._model.encode(texts[start : start + batch], batch_size=batch, show_progress_bar=False)
        return time.perf_counter() - started


async def measure(rounds: int) -> list[Round]:
    """The rounds, interleaved."""
    library = Library()
    async with Mesh() as mesh:
        await one_by_one(mesh)
        return [
            Round(
                at_once=await at_once(mesh),
                one_by_one=await one_by_one(mesh),
                library_at_once=library.seconds(QUESTIONS),
                library_one_by_one=library.seconds(1),
            )
            for _ in range(rounds)
        ]


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, to see that it works")
    try:
        rounds = asyncio.run(measure(1 if parser.parse_args().quick else ROUNDS))
    except LanemeshError as error:
        print(error, file=sys.stderr)
        return 1
    table = Table(title=f"milliseconds for {QUESTIONS} questions; medians of the rounds")
    for heading in ("", "at once", "one by one", "gain"):
        table.add_column(heading, justify="right")
    ratio = median(one.library_one_by_one / one.at_once for one in rounds)
    node = median(one.one_by_one / one.at_once for one in rounds)
    library = median(one.library_one_by_one / one.library_at_once for one in rounds)
    for name, together, single, gain in (
        ("node", median(one.at_once for one in rounds), median(one.one_by_one for one in rounds), node),
        (
            "library",
            median(one.library_at_once for one in rounds),
            median(one.library_one_by_one for one in rounds),
            library,
        ),
    ):
        table.add_row(name, f"{together * 1e3:.0f}", f"{single * 1e3:.0f}", f"{gain:.1f} x")
    console().print(table)
    verdict = Verdict(
        what=f"{QUESTIONS} questions at once, against the library without batches",
        value=ratio,
        bound=TARGET,
        at_least=True,
    )
    console().print(verdicts_table([verdict]))
    return 0 if verdict.met else 1


if __name__ == "__main__":
    sys.exit(main())
