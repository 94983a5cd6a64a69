"""The sources whose earlier documents each run has replaced in a store."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field

from lanemesh import Context

from lanemesh_services.search.errors import too_many_sources

MAX_SOURCES = 1_000_000
"""Most sources that a run may replace; each takes some 100 bytes."""
MAX_RUNS = 100
"""Most runs whose replaced sources are known at once."""


class SourcesOfRun:
    """The sources that a component has replaced in one run. Used by one write at a time."""

    def __init__(self, component: str) -> None:
        """`component` is for errors."""
        self._component = component
        self._replaced: set[bytes] = set()

    def is_first(self, source: str) -> bool:
        """Whether no document of a source is stored yet in the run. Raises LanemeshError if there are too many sources."""
        if _digest(source) in self._replaced:
            return False
        if len(self._replaced) >= MAX_SOURCES:
            raise too_many_sources(self._component, MAX_SOURCES, MAX_RUNS)
        return True

    def add(self, source: str) -> None:
        """A document of the source is stored, and those of earlier runs are removed."""
        self._replaced.add(_digest(source))


@dataclass
class ReplacedSources:
    """The sources that each run has replaced in a store."""

    _runs: dict[tuple[str, str], SourcesOfRun] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, context: Context) -> SourcesOfRun:
        """Those of a component in its run. Raises LanemeshError if there are too many runs."""
        key = (context.run_id, context.component)
        with self._lock:
            if key not in self._runs:
                if len(self._runs) >= MAX_RUNS:
                    raise too_many_sources(context.component, MAX_SOURCES, MAX_RUNS)
                self._runs[key] = SourcesOfRun(context.component)
            return self._runs[key]

    def forget(self, context: Context) -> None:
        """The component has ended. A write that still runs keeps the sources of its run."""
        with self._lock:
            self._runs.pop((context.run_id, context.component), None)


def _digest(source: str) -> bytes:
    return hashlib.sha256(source.encode()).digest()[:16]
