"""How often tests repeat what goes wrong seldom: `make test` a tenth of the times, `make many` all."""

from __future__ import annotations

import os

FULL = os.environ.get("REPEATS") == "full"
"""Whether tests repeat everything: `REPEATS=full`."""


def times(full: int, fewer: int | None = None) -> int:
    """How often to repeat something: `full` times if all is repeated, else `fewer`, by default a tenth of it."""
    if FULL:
        return full
    return fewer if fewer is not None else max(1, full // 10)
