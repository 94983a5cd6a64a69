"""What there is to be said of a store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Where runs are remembered, and how long."""

    location: str
    """A file, or the URL of a database, such as `postgresql://user@host/database`."""
    shared: bool = True
    """Others may have it open as well, if they share it too."""
    read_only: bool = False
    """It is only looked into, whoever has it open: nothing is written, and runs are not remembered."""
    keep_days: float = 30.0
    """Days after its end after which a run is forgotten."""
    keep_runs: int = 10_000
    """Most runs that are remembered."""
