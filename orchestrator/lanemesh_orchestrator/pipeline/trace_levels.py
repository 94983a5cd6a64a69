"""How much is told of the items of a run: the words of pipeline documents, and those of the wire."""

from __future__ import annotations

from collections.abc import Mapping

from lanemesh.v1 import run_pb2

TRACE_LEVELS: Mapping[str, run_pb2.TraceLevel.ValueType] = {
    "none": run_pb2.TRACE_LEVEL_NONE,
    "metadata": run_pb2.TRACE_LEVEL_METADATA,
    "summary": run_pb2.TRACE_LEVEL_SUMMARY,
    "full": run_pb2.TRACE_LEVEL_FULL,
}
"""Levels by the words that documents have for them."""

TRACE_WORDS = {level: word for word, level in TRACE_LEVELS.items()}
"""The other way."""
