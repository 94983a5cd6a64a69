"""1,000 short documents through parse, splitter, embedding and store, spread: `cd benchmarks && python -m bundled.ingest`.

Each service is a process. Beside it is a loop by hand with the same libraries in one process, which embeds and stores 64 documents
at once. Both begin with the model loaded and an empty store. Memory is that of the mesh's processes: the greatest in the second
half of the documents, less the greatest in the first.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from lanemesh import Document, LanemeshError, Media
from lanemesh_orchestrator import Mesh
from rich.table import Table

from chain.report import Verdict, console, status, verdicts_table

DOCUMENTS = 1_000
ROUNDS = 3
BATCH = 64
WARM = 4 * BATCH
"""Documents of the run before the rounds: enough for full batches, so that the node servers have the memory of those."""
CHUNK = 512
"""Largest size of a chunk in characters."""
TARGET = 0.8
FLAT_MIB = 50.0
"""Growth of memory that counts as none: what allocators keep."""
MEBIBYTE = 1024 * 1024
SAMPLE_SECONDS = 0.2
TEXT = (
    "Report {number} of the harbour office. On day {number} the ferry carried {passengers} passengers to the island, and {boats} "
    "boats stayed for the night. The wind came from the west with {wind} knots. No boat was damaged, and the office closed at nine."
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round."""

    mesh_per_s: float
    hand_per_s: float
    growth_mib: float


def files(count: int) -> list[tuple[str, bytes]]:
    """Names and contents of short files."""
    return [
        (f"report-{n}.txt", TEXT.format(number=n, passengers=n * 7 % 311, boats=n % 23, wind=n % 31).encode())
        for n in range(count)
    ]


def pipeline(folder: Path) -> dict[str, Any]:
    """The pipeline, with a store in this folder."""

    def after(name: str) -> list[dict[str, str]]:
        return [{"lane": "documents", "from": name}]

    store = {"path": str(folder / "mesh.sqlite")}
    return {
        "source": "webhook",
        "components": [
            {"id": "webhook", "provider": "webhook"},
            {"id": "parse", "provider": "parse", "input": after("webhook")},
            {
                "id": "splitter",
                "provider": "splitter",
                "config": {"size": CHUNK, "overlap": 0},
                "input": after("parse"),
            },
            {"id": "embedding", "provider": "embedding_transformer", "input": after("splitter")},
            {"id": "store", "provider": "sqlite_search", "config": store, "input": after("embedding")},
        ],
    }


class ByHand:
    """The same by the libraries themselves."""

    def __init__(self) -> None:
        from lanemesh_services.shared.models import locate
        from langchain_text_splitters import RecursiveCharacterTextSplitter
        from sentence_transformers import SentenceTransformer

        self._splitter = RecursiveCharacterTextSplitter(chunk_size=CHUNK, chunk_overlap=0)
        self._model = SentenceTransformer(str(locate("minilm")), local_files_only=True)
        self._model.encode(["warm"], show_progress_bar=False)

    def ingest(self, given: list[tuple[str, bytes]], folder: Path) -> int:
        """Ingests files. Returns the number of chunks."""
        from charset_normalizer import from_bytes
        from lanemesh_services.search.sqlite_store import SqliteStore

        store = SqliteStore(folder / "hand.sqlite", "documents")
        chunks: list[Document] = []
        for name, content in given:
            text = str(from_bytes(content).best() or "")
            chunks += [
                Document(chunk, id=f"{name}#{n}", source=name, chunk_index=n)
                for n, chunk in enumerate(self._splitter.split_text(text))
            ]
        for start in range(0, len(chunks), BATCH):
            part = chunks[start : start + BATCH]
            vectors = self._model.encode(
                [chunk.content for chunk in part], batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
            )
            store.put(
                [replace(chunk, embedding=tuple(vector)) for chunk, vector in zip(part, vectors.tolist(), strict=True)]
            )
        count = store.count()
        store.close()
        return count


async def through_mesh(mesh: Mesh, given: list[tuple[str, bytes]], folder: Path) -> tuple[float, float]:
    """Seconds, and the growth of memory in MiB."""
    memory: list[float] = []
    servers = psutil.Process().children(recursive=True)

    async def sample() -> None:
        while True:
            memory.append(_memory(servers))
            await asyncio.sleep(SAMPLE_SECONDS)

    started = time.perf_counter()
    sampling = asyncio.create_task(sample())
    try:
        async with mesh.run(pipeline(folder), open_input=True) as run:
            with suppress(LanemeshError):  # a run that has failed takes no input; its cause is raised below
                for name, content in given:
                    await run.push(Document("", source=name, file=Media("text/plain", content)))
                await run.end_input()
            await run.result()
            run.raise_unless_completed()
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
    half = max(1, len(memory) // 2)
    growth = max(memory[half:], default=memory[-1]) - max(memory[:half])
    return time.perf_counter() - started, growth


def _memory(servers: Sequence[psutil.Process]) -> float:
    """MiB of the node servers."""
    total = 0
    for process in servers:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / MEBIBYTE


async def measure(rounds: int, documents: int) -> list[Round]:
    """The rounds, each first through the mesh, then by hand."""
    by_hand = ByHand()
    given = files(documents)
    measured = []
    with tempfile.TemporaryDirectory() as root:
        async with Mesh("service", folder=Path(root)) as mesh:
            await through_mesh(mesh, files(WARM), _made(Path(root) / "warm"))
            for number in range(rounds):
                folder = _made(Path(root) / str(number))
                seconds, growth = await through_mesh(mesh, given, folder)
                started = time.perf_counter()
                count = await asyncio.to_thread(by_hand.ingest, given, folder)
                hand = time.perf_counter() - started
                _check(folder, count)
                rate = len(given) / seconds
                measured.append(Round(mesh_per_s=rate, hand_per_s=len(given) / hand, growth_mib=growth))
    return measured


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _check(folder: Path, count: int) -> None:
    """Raises RuntimeError unless both have stored as many chunks."""
    from lanemesh_services.search.sqlite_store import SqliteStore

    store = SqliteStore(folder / "mesh.sqlite", "documents")
    stored = store.count()
    store.close()
    if stored != count:
        raise RuntimeError(f"the mesh has stored {stored} chunks, and the loop {count}")


def judge(rounds: list[Round]) -> list[Verdict]:
    """The targets of the row."""
    ratio = median(one.mesh_per_s / one.hand_per_s for one in rounds)
    growth = max(one.growth_mib for one in rounds)
    return [
        Verdict(what="ingest, spread, against a loop by hand", value=ratio, bound=TARGET, at_least=True),
        Verdict(what="ingest, growth of memory", value=growth, bound=FLAT_MIB, at_least=False, unit="MiB"),
    ]


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of 200 documents, to see that it works")
    quick = parser.parse_args().quick
    try:
        rounds = asyncio.run(measure(1 if quick else ROUNDS, 200 if quick else DOCUMENTS))
    except LanemeshError as error:
        print(error, file=sys.stderr)
        return 1
    table = Table(title="short documents a second; each round")
    for heading in ("mesh", "by hand", "growth MiB"):
        table.add_column(heading, justify="right")
    for one in rounds:
        table.add_row(f"{one.mesh_per_s:.1f}", f"{one.hand_per_s:.1f}", f"{one.growth_mib:.0f}")
    console().print(table)
    verdicts = judge(rounds)
    console().print(verdicts_table(verdicts))
    return status(verdicts)


if __name__ == "__main__":
    sys.exit(main())
