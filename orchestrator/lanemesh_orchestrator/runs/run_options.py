"""The options with which one run of a valid pipeline is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lanemesh.faults import Code, Fault, LanemeshError

if TYPE_CHECKING:
    from lanemesh_orchestrator.sessions.conversation import Conversation

MAX_DEPTH = 8
"""Most runs that may be above a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options with which a valid pipeline is run.

    Raises:
        LanemeshError: the timeout is not greater than 0, or the session is not allowed.
    """

    owned: bool = True
    """Whether its caller reads its updates and outputs wait for the caller; otherwise the run is detached."""
    timeout: float | None = None
    """Time limit in seconds, greater than 0; None: that of the pipeline."""
    homes: Mapping[str, str] = field(default_factory=dict)
    """The name of the required server of a component, where there is one."""
    traceparent: str = ""
    """Its trace, in the format of W3C Trace Context; empty: a new trace."""
    session: str = ""
    """The session that it belongs to, 1 to 128 printable characters; empty: none."""
    depth: int = 0
    """How many runs are above it, at most `MAX_DEPTH`: a run that a node has started is below that node's run."""
    conversation: Conversation | None = None
    """Its part in its session; None: the session is not kept."""
    max_output: int = 0
    """Most bytes of one output, because its clients get it in one message; 0: no limit."""

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            message = (
                f"the timeout of a run must be greater than 0 seconds, not {self.timeout:g}; omit it for no timeout"
            )
            raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-timeout", message=message))
        if self.depth > MAX_DEPTH:
            message = (
                f"{MAX_DEPTH} runs are above this run already, and there may be no more. Does a pipeline start itself, such as "
                "by tool_pipeline? Remove the cycle, or call fewer pipelines within each other"
            )
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="nested-too-deep", message=message))
        if self.session:
            from lanemesh.memory import check_name

            try:
                check_name(self.session, "the id of a session")
            except ValueError as error:
                raise LanemeshError(
                    Fault(code=Code.INVALID_ARGUMENT, reason="bad-session", message=str(error))
                ) from None
