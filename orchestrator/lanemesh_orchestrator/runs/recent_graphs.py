"""The graphs of the documents that clients have run last, so that a document that is run again is not validated again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

from lanemesh.v1 import run_pb2

from lanemesh_orchestrator.pipeline import Graph

MAX_GRAPHS = 128
"""Most graphs that are kept."""
MAX_SPEC_BYTES = 64 * 1024
"""Largest document with its settings whose graph is kept: 64 KiB."""


class RecentGraphs:
    """The graphs of valid specs, by a hash of the spec. They are dropped when node types may have changed. Thread-safe."""

    def __init__(self) -> None:
        self._graphs: OrderedDict[bytes, Graph] = OrderedDict()
        self._version = -1
        self._lock = threading.Lock()

    def get(self, spec: run_pb2.RunSpec, version: int, read: Callable[[], Graph]) -> Graph:
        """The graph of a spec. Variables of a client may be secret: a spec with some is always read.

        Args:
            spec: a spec of a client; its hash is taken over all of it but the session.
            version: changes whenever node types may have changed.
            read: reads the graph; its errors are raised and not kept.
        """
        if spec.variables or spec.ByteSize() > MAX_SPEC_BYTES:
            return read()
        if spec.session_id:
            whole, spec = spec, run_pb2.RunSpec()
            spec.CopyFrom(whole)
            spec.session_id = ""
        key = hashlib.sha256(spec.SerializeToString(deterministic=True)).digest()
        with self._lock:
            if version != self._version:
                self._graphs.clear()
                self._version = version
            graph = self._graphs.get(key)
            if graph is not None:
                self._graphs.move_to_end(key)
                return graph
        graph = read()
        with self._lock:
            if version == self._version:
                self._graphs[key] = graph
                while len(self._graphs) > MAX_GRAPHS:
                    self._graphs.popitem(last=False)
        return graph
