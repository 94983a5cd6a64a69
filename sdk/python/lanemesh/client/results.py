"""The ends of runs: results, and the error of a failed run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lanemesh.client.updates import OutputUpdate, Placement, RunState
from lanemesh.client.views import text_of
from lanemesh.faults import Code, Fault, LanemeshError


class RunFailed(LanemeshError):
    """A run that failed or was cancelled. Its fault is the first primary cause; its text has component, node type, server and
    the frames of the user's code."""

    def __str__(self) -> str:
        details = self.fault.details
        where = [
            f"{label} {details[key]}"
            for label, key in (("component", "component"), ("node type", "provider"), ("server", "server"))
            if details.get(key)
        ]
        text = f"{self.fault.message} ({', '.join(where)})" if where else self.fault.message
        return f"{text}\n{self.fault.traceback.rstrip()}" if self.fault.traceback else text


@dataclass(frozen=True, slots=True)
class RunResult:
    """The end of a run, and its outputs."""

    run_id: str
    """The run."""
    state: RunState
    """One of the terminal states; it compares equal to its name: `result.state == "failed"`."""
    outputs: tuple[OutputUpdate, ...] = ()
    """Every value that reached a target, in the order of arrival, with its component, lane and group."""
    error: Fault | None = None
    """The first primary cause, if it failed."""
    reason: str = ""
    """Why it was cancelled, if it was."""
    missed: int = 0
    """Number of its updates that were no longer kept when they were requested; outputs among them are not in `outputs`."""
    placements: tuple[Placement, ...] = ()
    """The last placement of each component, with earlier ones on lost node servers."""

    @property
    def values(self) -> tuple[Any, ...]:
        """The values of the outputs."""
        return tuple(output.value for output in self.outputs)

    @property
    def text(self) -> str:
        """The text of all text and answers outputs, as one text."""
        return "".join(map(text_of, self.outputs))

    def __getitem__(self, key: str) -> tuple[Any, ...]:
        """The values that reached one target, by its id or the name of its result, such as `result["response_1"]` or
        `result["answers"]`. Raises KeyError if none did."""
        found = tuple(output.value for output in self.outputs if key in (output.component, output.name))
        if not found:
            reached = ", ".join(sorted({output.key for output in self.outputs})) or "no target"
            raise KeyError(f"no value reached {key!r}; values reached {reached}")
        return found

    def raise_for_state(self) -> None:
        """Raises RunFailed if the run failed or was cancelled."""
        if self.state is not RunState.COMPLETED:
            raise RunFailed(failure_of(self.run_id, self.error, self.reason))

    def __repr__(self) -> str:
        more = [f", {name}={value!r}" for name in ("error", "reason", "missed") if (value := getattr(self, name))]
        return f"RunResult(run_id={self.run_id!r}, state={self.state.value}, values={self.values!r}{''.join(more)})"


def failure_of(run_id: str, error: Fault | None, reason: str) -> Fault:
    """The cause of a run that has not completed: its first primary cause, or its cancellation."""
    message = f"{f'run {run_id}' if run_id else 'the run'} was cancelled: {reason or 'no reason was given'}"
    return error or Fault(code=Code.CANCELLED, reason="cancelled", message=message)
