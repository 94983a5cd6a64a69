"""What a node server may support beyond the base of the protocol, so that peers of different versions work together."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum


class Feature(StrEnum):
    """An optional part of the protocol. A server lists those that it supports in `Describe` and `Register`; an orchestrator uses
    no other and lists in `Place` those that a run needs. Names that a reader does not know are ignored in the first two and
    refused in `Place`."""

    RECOVERY = "recovery"
    """Edges that are replayable or reopenable, `detach` and `reroute`: components are placed again when their server is lost."""
    JOINS = "joins"
    """`sync_mode` join, and edges whose items carry the sequence tags of forks."""
    GROUPS = "groups"
    """Edges with `serialize_groups`."""
    ISOLATION = "isolation"
    """Instances with `isolation` process."""
    PRELOAD = "preload"
    """`Place` with `keep_warm`."""
    TRACES = "traces"
    """`Place.trace` and `TraceUpdate`."""
    QUICK_STARTS = "quick-starts"
    """`Place.opens_lanes_at_start`, and several runs, one after the other, on one `Host` stream."""
    MERGED_FRAMES = "merged-frames"
    """`Place.merges_frames`: several responses in one frame, and lanes whose first frame carries items, and whose last items carry
    the end."""
    SHORT_LANES = "short-lanes"
    """`Place.short_lanes`: lanes that have ended before their first frame share a call."""
    LANE_KEYS = "lane-keys"
    """`Place.lane_key`: a lane proves that it belongs to the run."""


FEATURES = frozenset(Feature)
"""What this version supports."""


def unsupported(needed: Collection[str], features: Collection[str]) -> list[str]:
    """The needed features that are not among these, in alphabetical order."""
    return sorted({str(feature) for feature in needed} - {str(feature) for feature in features})
