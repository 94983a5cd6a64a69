"""How a run is to be executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lanemesh.faults import Code, Fault, LanemeshError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a valid pipeline is run.

    Raises:
        LanemeshError: the timeout is none.
    """

    owned: bool = True
    """Its caller reads its updates, and outputs wait for it; else it is detached."""
    timeout: float | None = None
    """Seconds that it may take, more than 0; None: as the pipeline says."""
    homes: Mapping[str, str] = field(default_factory=dict)
    """Name of the server for each component that has to run on a certain one."""
    traceparent: str = ""
    """The trace that it belongs to, as W3C Trace Context writes it; empty: a new one."""

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            message = (
                f"the timeout of a run must be greater than 0 seconds, not {self.timeout:g}; omit it for no timeout"
            )
            raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-timeout", message=message))
