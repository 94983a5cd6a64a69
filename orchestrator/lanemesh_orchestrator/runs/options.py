"""The options of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lanemesh.faults import Code, Fault, LanemeshError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options with which a valid pipeline is run.

    Raises:
        LanemeshError: the timeout is not greater than 0.
    """

    owned: bool = True
    """Whether its caller reads its updates and outputs wait for the caller; otherwise the run is detached."""
    timeout: float | None = None
    """Time limit in seconds, greater than 0; None: that of the pipeline."""
    homes: Mapping[str, str] = field(default_factory=dict)
    """The name of the required server of a component, where there is one."""
    traceparent: str = ""
    """Its trace, in the format of W3C Trace Context; empty: a new trace."""

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            message = (
                f"the timeout of a run must be greater than 0 seconds, not {self.timeout:g}; omit it for no timeout"
            )
            raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-timeout", message=message))
