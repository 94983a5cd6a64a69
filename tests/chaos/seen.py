"""What clients have seen of runs, and what has to be true of it afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HANG_SECONDS = 120.0
"""How long a run of a second or two may take with all that happens to it. One that takes longer hangs."""


@dataclass(slots=True)
class Seen:
    """One run, as the client saw it that started it."""

    ticks: int
    """Items that it has to bring if it completes."""
    run_id: str = ""
    """Empty if the client never learned it."""
    outputs: dict[int, str] = field(default_factory=dict)
    """What came to the client, by the number of the update."""
    end: str = ""
    """"completed", "failed", "cancelled", or "broken": the client's connection was. Empty: it goes on."""
    detail: str = ""
    """More about its end."""
    seconds: float = 0.0
    """How long it took, or has taken so far."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """One run, as history has it in the end."""

    state: str
    """"completed", "failed", "cancelled", or another one, which is wrong by then."""
    reason: str
    """The reason of its error."""
    outputs: Mapping[int, str]
    """By the number of the update."""


def faults_of(seen: Sequence[Seen], history: Mapping[str, Remembered]) -> list[str]:
    """Everything that must not be, each in a sentence."""
    faults: list[str] = []
    for run in seen:
        name = run.run_id or "a run without id"
        if not run.end:
            faults.append(f"{name} hangs: its client has seen no end of it in {run.seconds:.0f} s")
        elif run.seconds > HANG_SECONDS:
            faults.append(f"{name} took {run.seconds:.0f} s to end ({run.end}: {run.detail})")
        if run.end == "completed":
            missing = {str(number) for number in range(run.ticks)} - set(run.outputs.values())
            if missing:
                faults.append(f"{name} completed, and its client missed {len(missing)} of {run.ticks} outputs")
        if not run.run_id:
            continue
        kept = history.get(run.run_id)
        if kept is None:
            faults.append(f"{name} ({run.end}) is not in history")
            continue
        if kept.state not in ("completed", "failed", "cancelled"):
            faults.append(f"{name} is {kept.state} in history, long after its end")
        if run.end not in ("", "broken", kept.state):
            faults.append(f"{name} is {kept.state} in history ({kept.reason}), and its client saw it {run.end}")
        lost = [number for number, value in run.outputs.items() if kept.outputs.get(number) != value]
        if lost:
            faults.append(
                f"{name}: {len(lost)} outputs that its client saw are not in history, the first is update {lost[0]}"
            )
    return faults
