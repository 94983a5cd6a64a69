"""How the page of the gateway bears a busy run: `python benchmarks/page.py`.

A run of 200 nodes and 300 edges sends 3,000 updates a second to the page in a headless Chromium, which draws by software.
Measures the frames a second, the processor time of the page, how far it falls behind, what its heap holds, and how long an empty
page takes to load. Other programs on the machine take time from frames and loads, but hardly change their processor time, which
has a target of its own. Prints each value beside its target and exits 1 if one is missed. Wants Chromium (`make browser`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

import psutil
import uvicorn
from lanemesh_orchestrator.gateway import page as page_of_gateway
from playwright.async_api import Page, async_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from chain.processes import free_port
from chain.report import Verdict, console, status, verdicts_json, verdicts_table

NODES = 200
EDGES = 300
UPDATES_PER_S = 3_000
BATCH_S = 0.02
"""Pause between two pieces of the stream."""
FRAMES_PER_S = 50
LOAD_MS = 300
"""How long an empty page may take to load."""
SECONDS = 10.0
WARM_UP_S = 3.0
LOADS = 5
START_LIMIT_S = 20.0

FRAMES = """() => {
    window.frames_ = 0;
    const count = () => { window.frames_++; requestAnimationFrame(count); };
    requestAnimationFrame(count);
}"""


def edges() -> list[dict[str, str]]:
    """The edges of a graph in layers: each node has one producer ten nodes before it, and every other one a second producer."""
    pairs = [(max(0, number - 10 - number % 3), number) for number in range(1, NODES)]
    pairs += [(max(0, number - 17), number) for number in range(NODES - 1, 1, -1)][: EDGES - len(pairs)]
    return [
        {
            "edge": f"node_{one}.out{index}>node_{other}.in{index}",
            "producer": f"node_{one}",
            "output": f"out{index}",
            "consumer": f"node_{other}",
            "input": f"in{index}",
            "lane": "data",
        }
        for index, (one, other) in enumerate(pairs)
    ]


class BusyRun:
    """A run that reports at a fixed rate."""

    def __init__(self) -> None:
        self.sequence = 0
        self._edges = edges()

    def beginning(self) -> list[dict[str, Any]]:
        """The first updates."""
        placed = [{"component": f"node_{n}", "provider": "worker", "server": "here", "pid": 1} for n in range(NODES)]
        running = {"update": "job", "run_id": "busy", "state": "running", "placements": placed, "edges": self._edges}
        return [self._numbered({"update": "job", "run_id": "busy", "state": "starting"}), self._numbered(running)]

    def next(self) -> dict[str, Any]:
        """One more update: mostly of edges and nodes, some outputs, logs and progress."""
        n = self.sequence
        node = f"node_{(n * 7) % NODES}"
        if n % 10 < 6:
            edge = self._edges[(n * 11) % EDGES]["edge"]
            counts = {"sent": n // 3, "consumed": n // 3 - n % 64, "buffered": n % 64, "limit_items": 64}
            return self._numbered({"update": "edge", "edge": edge, "drained": False, **counts})
        if n % 10 < 8:
            times = {"busy": n / 4_000, "waiting": n / 6_000, "blocked": n / 9_000}
            return self._numbered({"update": "node", "component": node, "state": "running", "firings": n, **times})
        if n % 20 == 8:
            return self._numbered({"update": "log", "component": node, "level": "info", "message": f"line {n}"})
        if n % 20 == 9:
            return self._numbered({"update": "progress", "component": node, "done": n % 100, "total": 100})
        return self._numbered(
            {"update": "output", "component": "node_199", "port": "in", "lane": "text", "value": f"word{n} "}
        )

    def _numbered(self, update: dict[str, Any]) -> dict[str, Any]:
        self.sequence += 1
        return {"sequence": self.sequence, "time": datetime.now(UTC).isoformat(), **update}


def application(run: BusyRun) -> Starlette:
    """The page, and an API that has the run alone."""

    async def record(request: Request) -> JSONResponse:
        return JSONResponse({"run_id": "busy", "name": "busy", "state": "running"})

    async def listed(request: Request) -> JSONResponse:
        return JSONResponse({"runs": [], "deployments": []})

    async def events(request: Request) -> StreamingResponse:
        return StreamingResponse(stream(), media_type="text/event-stream")

    async def stream() -> AsyncIterator[str]:
        run.sequence = 0
        yield _text(run.beginning())
        started, sent = time.perf_counter(), 0
        while True:
            await asyncio.sleep(BATCH_S)
            due = int((time.perf_counter() - started) * UPDATES_PER_S) - sent
            sent += due
            yield _text([run.next() for _ in range(due)])

    return Starlette(
        routes=[
            *page_of_gateway.routes(),
            Route("/v1/runs", listed),
            Route("/v1/deployments", listed),
            Route("/v1/runs/busy", record),
            Route("/v1/runs/busy/events", events),
        ]
    )


def _text(updates: list[dict[str, Any]]) -> str:
    return "".join(f"id: {one['sequence']}\ndata: {json.dumps(one)}\n\n" for one in updates)


@asynccontextmanager
async def serving(run: BusyRun) -> AsyncIterator[str]:
    """Serves the application; gives its URL."""
    config = uvicorn.Config(
        application(run), host="127.0.0.1", port=free_port(), log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(START_LIMIT_S):
        while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{config.port}"
    server.should_exit = True
    await task


async def measure(seconds: float) -> list[Verdict]:
    """All values beside their targets."""
    run = BusyRun()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium is not installed: `make browser` installs Debian's")
    async with serving(run) as url, async_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking", "--enable-precise-memory-info"]
        browser = await playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        loads = [await _load(page, f"{url}/?{number}#/runs") for number in range(LOADS)]
        await page.goto(f"{url}/?busy#/runs/busy")
        await page.wait_for_selector(".graph .node")
        await asyncio.sleep(WARM_UP_S)
        await page.evaluate(FRAMES)
        before = await page.evaluate("window.frames_"), _renderer_seconds(), time.perf_counter()
        await asyncio.sleep(seconds)
        after = await page.evaluate("window.frames_"), _renderer_seconds(), time.perf_counter()
        shown = await page.inner_text(".facts")
        behind = run.sequence - int("".join(filter(str.isdigit, shown.split("·")[-1])))
        heap = await page.evaluate("performance.memory.usedJSHeapSize / 1e6")
        await browser.close()
    frames, busy, elapsed = (end - begin for begin, end in zip(before, after, strict=True))
    return [
        Verdict(what="frames a second", value=frames / elapsed, bound=FRAMES_PER_S, at_least=True, unit="/s"),
        Verdict(
            what="processor time of a frame",
            value=busy / frames * 1e3,
            bound=1e3 / FRAMES_PER_S,
            at_least=False,
            unit="ms",
        ),
        Verdict(what="processor time of the page", value=busy / elapsed, bound=1, at_least=False, unit="cores"),
        Verdict(what="the page is behind the run by", value=behind / UPDATES_PER_S, bound=2, at_least=False, unit="s"),
        Verdict(what="heap of the page", value=heap, bound=100, at_least=False, unit="MB"),
        Verdict(
            what="load of the page, p50",
            value=median(load.wall_ms for load in loads),
            bound=LOAD_MS,
            at_least=False,
            unit="ms",
        ),
        Verdict(
            what="processor time of a load, p50",
            value=median(load.processor_ms for load in loads),
            bound=LOAD_MS,
            at_least=False,
            unit="ms",
        ),
    ]


@dataclass(frozen=True)
class Load:
    """What it takes to load the page."""

    wall_ms: float
    processor_ms: float
    """Of the processes of Chromium that run pages."""


async def _load(page: Page, url: str) -> Load:
    started, busy = time.perf_counter(), _renderer_seconds()
    await page.goto(url)
    await page.wait_for_selector("main h1")
    return Load((time.perf_counter() - started) * 1e3, (_renderer_seconds() - busy) * 1e3)


def _renderer_seconds() -> float:
    """Processor seconds so far of the processes of Chromium that run pages."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            if "--type=renderer" in process.cmdline():
                times = process.cpu_times()
                total += times.user + times.system
        except psutil.Error:
            continue  # it has ended
    return total


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the values as JSON instead of the table")
    parser.add_argument("--quick", action="store_true", help="for two seconds, to see that it works")
    arguments = parser.parse_args()
    verdicts = asyncio.run(measure(2.0 if arguments.quick else SECONDS))
    if arguments.json:
        print(verdicts_json(verdicts))
    else:
        console().print(verdicts_table(verdicts))
    return status(verdicts)


if __name__ == "__main__":
    sys.exit(main())
