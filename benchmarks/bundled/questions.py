"""50 questions at once through the embedding node, against the same node without batches: `python -m bundled.questions`.

All are of one run in a mesh of one process, and the node embeds those that wait together. Without batches it embeds each question
by a call of its own. Beside them are 50 questions through the node one after another, each when the embedding of the last has
come, and the library alone: with a call for each question, and with all questions in one call, which is the most that a batch can
gain on this host.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from lanemesh import LanemeshError, Question
from lanemesh_orchestrator import Mesh
from rich.table import Table

from chain.report import Verdict, console, status, verdicts_table

NODES = Path(__file__).with_name("_unbatched.py")
QUESTIONS = 50
ROUNDS = 5
QUICK_ROUNDS = 3
TARGET = 5.0
SHARE = 0.8
SETTLE_SECONDS = 0.3
"""Between two parts of a round. The threads of a model keep a processor busy for a moment after their last product."""


def pipeline(provider: str) -> dict[str, Any]:
    """A pipeline that embeds questions with a node of this type."""
    return {
        "source": "chat",
        "components": [
            {"id": "chat", "provider": "chat"},
            {"id": "embedding", "provider": provider, "input": [{"lane": "questions", "from": "chat"}]},
            {"id": "client", "provider": "response", "input": [{"lane": "questions", "from": "embedding"}]},
        ],
    }


@dataclass(frozen=True)
class Taken:
    """What all questions took."""

    seconds: float
    processor: float
    """Time of the processor in seconds, over all threads."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round."""

    at_once: Taken
    unbatched: Taken
    """At once, through the node without batches."""
    one_by_one: Taken
    library_at_once: Taken
    library_one_by_one: Taken


class Clock:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def taken(self) -> Taken:
        """The time since then."""
        return Taken(time.perf_counter() - self._wall, time.process_time() - self._processor)


def asked() -> list[Question]:
    """The questions."""
    return [Question(f"How many passengers did the ferry carry on day {n}?") for n in range(QUESTIONS)]


async def at_once(mesh: Mesh, provider: str = "embedding_transformer") -> Taken:
    """From the first question to the last embedding."""
    async with mesh.run(pipeline(provider), open_input=True) as run:
        async with aclosing(_values(run)) as values:
            await run.push(Question("warm"))
            await anext(values)
            clock = Clock()
            feeding = asyncio.create_task(_fed(run))
            for _ in range(QUESTIONS):
                await anext(values)
            taken = clock.taken()
            await feeding
        await run.result()
    return taken


async def one_by_one(mesh: Mesh) -> Taken:
    """The same, with each question after the embedding of the last."""
    async with mesh.run(pipeline("embedding_transformer"), open_input=True) as run:
        async with aclosing(_values(run)) as values:
            await run.push(Question("warm"))
            await anext(values)
            clock = Clock()
            for question in asked():
                await run.push(question)
                await anext(values)
            taken = clock.taken()
        await run.end_input()
        await run.result()
    return taken


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

    async def taken(self, batch: int) -> Taken:
        """For all questions, so many in one call."""
        texts = [question.text for question in asked()]
        clock = Clock()
        for start in range(0, len(texts), batch):
            self._model.encode(texts[start : start + batch], batch_size=batch, show_progress_bar=False)
        return clock.taken()


async def measure(rounds: int) -> list[Round]:
    """The rounds, interleaved."""
    library = Library()
    async with Mesh(nodes=NODES) as mesh:
        await one_by_one(mesh)
        return [
            Round(
                at_once=await settled(at_once(mesh)),
                unbatched=await settled(at_once(mesh, "embedding_unbatched")),
                one_by_one=await settled(one_by_one(mesh)),
                library_at_once=await settled(library.taken(QUESTIONS)),
                library_one_by_one=await settled(library.taken(1)),
            )
            for _ in range(rounds)
        ]


async def settled(part: Awaitable[Taken]) -> Taken:
    """What a part of a round takes, begun when the one before has settled."""
    await asyncio.sleep(SETTLE_SECONDS)
    return await part


def judge(rounds: Sequence[Round]) -> list[Verdict]:
    """The targets."""
    gain = median(one.unbatched.seconds / one.at_once.seconds for one in rounds)
    share = median(one.library_at_once.seconds / one.at_once.seconds for one in rounds)
    what = f"{QUESTIONS} questions at once"
    return [
        Verdict(what=f"{what}, against the node without batches", value=gain, bound=TARGET, at_least=True),
        Verdict(what=f"{what}, against the library with one batch", value=share, bound=SHARE, at_least=True),
    ]


def rows_table(rounds: Sequence[Round]) -> Table:
    """The table of values."""
    table = Table(title=f"milliseconds for {QUESTIONS} questions; medians of the rounds")
    for heading in ("", "wall time", "processor time", "against the node at once"):
        table.add_column(heading, justify="right")
    for name in (part.name for part in fields(Round)):
        parts: list[Taken] = [getattr(one, name) for one in rounds]
        wall, processor = (median(values) * 1e3 for values in zip(*(astuple(part) for part in parts), strict=True))
        ratio = median(part.seconds / one.at_once.seconds for part, one in zip(parts, rounds, strict=True))
        table.add_row(name.replace("_", " "), f"{wall:.0f}", f"{processor:.0f}", f"{ratio:.2f} x")
    return table


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    try:
        rounds = asyncio.run(measure(QUICK_ROUNDS if parser.parse_args().quick else ROUNDS))
    except LanemeshError as error:
        print(error, file=sys.stderr)
        return 1
    console().print(rows_table(rounds))
    found = judge(rounds)
    console().print(verdicts_table(found))
    return status(found)


if __name__ == "__main__":
    sys.exit(main())
