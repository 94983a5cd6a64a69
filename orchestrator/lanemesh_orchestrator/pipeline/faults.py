"""The faults of a pipeline and their texts."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence

from lanemesh.pipeline_faults import (
    MAX_FAULTS,
    PipelineFault,
    PipelineInvalid,
    Severity,
    in_order,
    pointer_order,
)

__all__ = [
    "MAX_FAULTS",
    "PipelineFault",
    "PipelineInvalid",
    "Severity",
    "escape",
    "in_order",
    "listed",
    "nearest",
    "pointer_order",
    "quoted",
]

MAX_SUGGESTIONS = 100
"""Maximum number of names that a misspelt one is compared with."""


def escape(key: str) -> str:
    """A key as one part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to a given one; None if none is similar."""
    # Bounded, because difflib takes quadratic time, and a document may have thousands of names, or one of megabytes.
    alike = (other for other in known if abs(len(other) - len(name)) <= 10 or other[:4] == name[:4])
    matches = difflib.get_close_matches(name[:100], list(itertools.islice(alike, MAX_SUGGESTIONS)), n=1, cutoff=0.6)
    return matches[0] if matches else None


def listed(names: Sequence[str], limit: int = 12) -> str:
    """Names as people read them, the first `limit` of them."""
    if not names:
        return "none"
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def quoted(name: str, limit: int = 80) -> str:
    """A name of the document in quotes, cut if it is long."""
    return f'"{name}"' if len(name) <= limit else f'"{name[:limit]}..."'
