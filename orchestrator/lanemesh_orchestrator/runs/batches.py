"""Batches of the updates of a run, as frames carry them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lanemesh.text_outputs import Entry
from lanemesh.v1 import run_pb2, update_pb2

MAX_BATCH_UPDATES = 256
"""Most updates that are sent in one frame."""
MAX_BATCH_BYTES = 256 * 1024
"""Most bytes of updates in one frame: 256 KiB; one larger update is sent alone."""

Batch = Sequence[Entry] | run_pb2.Gap
"""Consecutive updates, or a gap of updates that are no longer kept."""


def in_batches(updates: Sequence[update_pb2.Update]) -> Iterator[Sequence[update_pb2.Update]]:
    """Splits updates into batches for frames: at most 256 updates or 256 KiB, or one larger update."""
    batch: list[update_pb2.Update] = []
    size = 0
    for update in updates:
        more = update.ByteSize()
        if batch and (len(batch) == MAX_BATCH_UPDATES or size + more > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(update)
        size += more
    if batch:
        yield batch
