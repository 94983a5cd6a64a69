"""Resident memory of the processes of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise

import psutil

MEBIBYTE = 1 << 20


def resident_mib() -> dict[str, float]:
    """Resident memory in MiB of this process, which is the client's, and of each process that it has started, by name."""
    own = psutil.Process()
    found = {"client": own.memory_info().rss / MEBIBYTE}
    for process in own.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found[_name(process)] = process.memory_info().rss / MEBIBYTE
    return found


def growth(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How much each process has grown; a process that is new counts whole."""
    return {name: mib - before.get(name, 0.0) for name, mib in after.items()}


def _name(process: psutil.Process) -> str:
    """What a process is: the orchestrator, the name of a node server, a stage of the bare chain."""
    words = process.cmdline()
    if "serve" in words:
        return "orchestrator"
    for word, after in pairwise(words):
        if word in ("--name", "chain.bare_stage"):
            return after
        if after.startswith("--name="):
            return after.removeprefix("--name=")
    return f"process {process.pid}"
