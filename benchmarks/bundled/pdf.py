"""A PDF of 200 pages through `parse`, in a mesh of processes: `cd benchmarks && python -m bundled.pdf`.

Measured is when the first text arrives at the client, as a share of the time of the run, and by how much the node server grows.
Beside it is the time that pypdf takes for the same pages in a loop of its own.
"""

import asyncio
import io
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import psutil
from lanemesh import Document, JobUpdate, Media, OutputUpdate
from lanemesh_orchestrator import Mesh

from bundled.alone import main
from chain.report import Verdict, console

PAGES = 200
QUICK_PAGES = 40
ROUNDS = 3
LINES = 45
"""Lines of a page, of ten words each."""
FIRST_SHARE = 0.25
"""The first text arrives before this share of the run; after the whole file it would be all of it."""
GROWTH_MIB = 200.0
WORDS = [
    "harbour",
    "boat",
    "storm",
    "berth",
    "flag",
    "pilot",
    "tide",
    "anchor",
    "quay",
    "lantern",
    "crew",
    "rope",
    "cargo",
    "signal",
    "captain",
]

PIPELINE: dict[str, Any] = {
    "source": "files",
    "components": [
        {"id": "files", "provider": "file"},
        {"id": "parse", "provider": "parse", "input": [{"lane": "documents", "from": "files"}]},
        {"id": "client", "provider": "response", "input": [{"lane": "documents", "from": "parse"}]},
    ],
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One run."""

    first_s: float
    """When the first text was there, after the start of the run."""
    total_s: float
    growth_mib: float
    """The most that the node server had during the run, less what it had before."""


def made_pdf(pages: int) -> bytes:
    """A PDF with so many pages of text, which are compressed."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    chance = random.Random(1)
    writer = PdfWriter()
    names = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica", "/Encoding": "/WinAnsiEncoding"}
    font = DictionaryObject({NameObject(key): NameObject(name) for key, name in names.items()})
    fonts = DictionaryObject({NameObject("/F1"): font})
    for _ in range(pages):
        page = writer.add_blank_page(595, 842)
        lines = (" ".join(chance.choices(WORDS, k=10)) for _ in range(LINES))
        content = DecodedStreamObject()
        content.set_data(
            "BT /F1 12 Tf 50 790 Td\n{}ET\n".format("".join(f"({line}) Tj 0 -16 Td\n" for line in lines)).encode()
        )
        page[NameObject("/Contents")] = content.flate_encode()
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def bare_s(content: bytes) -> float:
    """The time that pypdf takes for the texts of all pages."""
    from pypdf import PdfReader

    started = time.perf_counter()
    for page in PdfReader(io.BytesIO(content)).pages:
        page.extract_text()
    return time.perf_counter() - started


async def one_reading(mesh: Mesh, content: bytes) -> Reading:
    """One run of the file, whose node server runs already."""
    document = Document("", source="book.pdf", file=Media("application/pdf", content))
    started = time.perf_counter()
    first = 0.0
    most = 0
    server: psutil.Process | None = None
    async with mesh.run(PIPELINE, inputs=[document]) as run:
        async for update in run.updates():
            match update:
                case JobUpdate(placements=placements) if placements:
                    server = psutil.Process(next(place.pid for place in placements if place.component == "parse"))
                case OutputUpdate():
                    first = first or time.perf_counter() - started
                    most = max(most, server.memory_info().rss if server is not None else 0)
        run.raise_unless_completed()
    if server is None:
        raise RuntimeError("the run was not placed")
    before = _least.setdefault(server.pid, most)
    return Reading(first_s=first, total_s=time.perf_counter() - started, growth_mib=(most - before) / 2**20)


_least: dict[int, int] = {}
"""What each node server had after the reading of a small file."""


async def measure(pages: int, rounds: int) -> tuple[list[Reading], float]:
    """The readings in a mesh of processes, and the time of the loop."""
    content = made_pdf(pages)
    async with Mesh(spread="service") as mesh:
        await one_reading(mesh, made_pdf(1))  # imports the libraries
        taken = [await one_reading(mesh, content) for _ in range(rounds)]
    return taken, await asyncio.to_thread(bare_s, content)


def judge(readings: Sequence[Reading]) -> list[Verdict]:
    """The targets of a large PDF."""
    share = median(reading.first_s / reading.total_s for reading in readings)
    growth = max(reading.growth_mib for reading in readings)
    return [
        Verdict(
            what="large PDF, first text after this share of the run", value=share, bound=FIRST_SHARE, at_least=False
        ),
        Verdict(
            what="large PDF, growth of the node server", value=growth, bound=GROWTH_MIB, at_least=False, unit=" MiB"
        ),
    ]


async def verdicts(quick: bool) -> list[Verdict]:
    """The verdicts of this family; `quick`: of a shorter file, once."""
    pages = QUICK_PAGES if quick else PAGES
    readings, bare = await measure(pages, 1 if quick else ROUNDS)
    total = median(reading.total_s for reading in readings)
    first = median(reading.first_s for reading in readings) * 1e3
    console().print(
        f"PDF of {pages} pages: first text after {first:.0f} ms, all after {total:.2f} s; "
        f"pypdf in a loop of its own takes {bare:.2f} s, {bare / total:.2f}x"
    )
    return judge(readings)


if __name__ == "__main__":
    sys.exit(main(__doc__, "a shorter file, once, to see that it works", verdicts))
