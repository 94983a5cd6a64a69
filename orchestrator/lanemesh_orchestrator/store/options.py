"""The options of a store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Where runs are stored, and for how long."""

    location: str
    """A file, or the URL of a database, such as `postgresql://user@host/database`."""
    shared: bool = True
    """Other orchestrators may open it as well, if they share it too."""
    read_only: bool = False
    """It is only read, also if another process has it open: nothing is written, and runs are not stored."""
    deployments: bool = True
    """Deployed pipelines are stored too, and those that it holds are deployed again."""
    keep_days: float = 30.0
    """Days after its end when a run is deleted."""
    keep_runs: int = 10_000
    """Maximum number of stored runs."""
