"""The verdict on a chaos run: it finds what must not be."""

from __future__ import annotations

import pytest

from chaos.seen import HANG_SECONDS, Remembered, Seen, faults_of

WHOLE = {4: "0", 5: "1"}


def run(**changes: object) -> Seen:
    """A run that completed as it has to, but for the changes."""
    made = Seen(ticks=2, run_id="run-1", outputs=dict(WHOLE), end="completed", seconds=1.0)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def kept(state: str = "completed", outputs: dict[int, str] | None = None) -> dict[str, Remembered]:
    """What history has of it."""
    return {"run-1": Remembered(state, "", WHOLE if outputs is None else outputs)}


def test_what_is_as_it_has_to_be_has_no_faults() -> None:
    assert (
        faults_of([run(), run(end="broken", outputs={4: "0"}), run(run_id="", end="broken", outputs={})], kept()) == []
    )


@pytest.mark.parametrize(
    ("seen", "history", "told"),
    [
        (run(end="", seconds=200.0), kept(), "hangs"),
        (run(seconds=HANG_SECONDS + 1), kept(), "took 121 s"),
        (run(outputs={4: "0"}), kept(), "missed 1 of 2"),
        (run(), {}, "not in history"),
        (run(end="broken"), kept("running"), "is running in history"),
        (run(), kept("failed"), "its client saw it completed"),
        (run(), kept(outputs={4: "0"}), "the first is update 5"),
        (run(), kept(outputs={4: "0", 5: "2"}), "the first is update 5"),
    ],
)
def test_what_must_not_be_is_told(seen: Seen, history: dict[str, Remembered], told: str) -> None:
    faults = faults_of([seen], history)

    assert len(faults) == 1
    assert told in faults[0]
