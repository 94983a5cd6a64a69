"""Trace levels: the words of pipeline documents, and the values of the wire."""

from __future__ import annotations

from collections.abc import Mapping

from lanemesh.v1 import update_pb2

TRACE_LEVELS: Mapping[str, update_pb2.TraceLevel.ValueType] = {
    "none": update_pb2.TRACE_LEVEL_NONE,
    "metadata": update_pb2.TRACE_LEVEL_METADATA,
    "summary": update_pb2.TRACE_LEVEL_SUMMARY,
    "full": update_pb2.TRACE_LEVEL_FULL,
}
"""Levels by the words that documents have for them."""

TRACE_WORDS = {level: word for word, level in TRACE_LEVELS.items()}
"""The other way."""
