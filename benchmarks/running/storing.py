"""What it costs a run to be remembered."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from lanemesh.client.run_reader import wire_updates
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh

from running.pipelines import NODES, line

OUTPUTS = 50_000
"""Outputs of a run: small texts, each an update of its own."""

_RUN = line(("run_source", {"items": OUTPUTS}))


async def rounds(number: int) -> tuple[list[float], list[float]]:
    """Seconds of runs that are not remembered, and of runs that are stored in SQLite before they are sent, in turns."""
    plain: list[float] = []
    stored: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(-2, 2 * number):  # the first two are the warm-up
            is_stored = index % 2 == 1
            seconds = await _timed({"store": Path(folder) / "runs.sqlite"} if is_stored else {})
            if index >= 0:
                (stored if is_stored else plain).append(seconds)
    return plain, stored


async def _timed(options: dict[str, Any]) -> float:
    async with Mesh(nodes=[NODES], **options) as mesh, mesh.run(_RUN, input="go") as run:
        began, outputs = time.perf_counter(), 0
        async for update in wire_updates(run):
            if update.job.state == update_pb2.RUN_STATE_RUNNING:
                began = time.perf_counter()
            outputs += update.WhichOneof("kind") == "output"
        if outputs != OUTPUTS:
            raise RuntimeError(f"{outputs:,} of {OUTPUTS:,} outputs came")
        return time.perf_counter() - began
