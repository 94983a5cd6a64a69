"""`lanemesh show` of runs that are made by hand: what it prints, in which order, and what it rejects."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from lanemesh.client.detached import DetachedRun
from lanemesh.client.records import RunRecord
from lanemesh.client.updates import RunState
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.text_outputs import Entry, TextOutputs
from lanemesh.v1 import run_pb2, update_pb2
from lanemesh_orchestrator.cli.commands import runs as runs_command
from lanemesh_orchestrator.cli.commands import show as show_command
from lanemesh_orchestrator.cli.commands.show import ShowOptions, show
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.hosts import HostOptions
from lanemesh_orchestrator.cli.output import streams
from lanemesh_orchestrator.cli.output.errors import report
from lanemesh_orchestrator.cli.output.streams import Streams

from rigs.active_updates import ActiveUpdates, Given

CREATED = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


class KnownRuns:
    """A mesh that knows some runs."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        """The runs whose record was requested."""
        self._known: dict[str, tuple[RunRecord, Sequence[Given]]] = {}

    def add(self, run_id: str, *given: Given, last: int, **fields: Any) -> None:
        """Adds a run with `last` updates, of which those are kept that are given."""
        state = fields.pop("state", RunState.RUNNING)
        record = RunRecord(
            run_id=run_id, state=state, created_at=CREATED, name="p", last_sequence=last, pipeline_json="{}", **fields
        )
        self._known[run_id] = record, given

    async def runs(self, *, limit: int = 100) -> list[RunRecord]:
        return [record for record, _ in self._known.values()][:limit]

    async def record(self, run_id: str) -> RunRecord:
        self.fetched.append(run_id)
        if run_id not in self._known:
            raise LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-run", message=f"there is no {run_id}"))
        return self._known[run_id][0]

    def attach(self, run_id: str, from_sequence: int = 1) -> DetachedRun:
        link = ActiveUpdates(self._known[run_id][1])
        return DetachedRun(run_id, link, channels=None, from_sequence=from_sequence)  # type: ignore[arg-type]


@pytest.fixture
def mesh(monkeypatch: pytest.MonkeyPatch) -> KnownRuns:
    """The mesh that the command connects to."""
    known = KnownRuns()

    @asynccontextmanager
    async def open_host(options: HostOptions) -> AsyncIterator[KnownRuns]:
        yield known

    monkeypatch.setattr(runs_command, "open_host", open_host)
    return known


def shown(*runs: str, **options: Any) -> ExitCode:
    return show(runs, HostOptions(), ShowOptions(**options))


def texts(first: int, *values: str) -> list[Entry]:
    """Outputs with these texts, from a number on."""
    return [TextOutputs("out", "text", list(values), first=first)]


def gap(first: int, last: int) -> run_pb2.Gap:
    return run_pb2.Gap(from_sequence=first, to_sequence=last)


def trace(sequence: int) -> Entry:
    return update_pb2.Update(sequence=sequence, trace=update_pb2.TraceUpdate(edge_id="a.text>out.text", left_out=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": True, "updates": True}, "--outputs and --updates cannot both be given"),
        ({"updates": True, "trace": True}, "--updates and --trace cannot both be given"),
        ({"files": ["out=out.txt"], "updates": True}, "--output and --updates cannot both be given"),
        ({"files": ["out=out.txt"], "trace": True}, "--output and --trace cannot both be given"),
        ({"files": ["out=out.txt"], "json": True}, "--output and --json cannot both be given"),
        ({"files": ["out=out.txt"], "outputs": True, "json": True}, "--output and --json cannot both be given"),
    ],
)
def test_a_contradiction_is_rejected(mesh: KnownRuns, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError, match=rf"{message}: .+\. Give one of them\.$"):
        shown("run-1", **options)

    assert mesh.fetched == []


def test_outputs_as_json_are_only_the_outputs(mesh: KnownRuns, capfd: pytest.CaptureFixture[str]) -> None:
    mesh.add("run-1", [*texts(1, "a", "b"), trace(3)], last=3)

    assert shown("run-1", outputs=True, json=True) == ExitCode.COMPLETED
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(line["update"], line["sequence"], line["value"]) for line in lines] == [
        ("output", 1, "a"),
        ("output", 2, "b"),
    ]


def test_traces_are_printed_as_text_or_as_json(mesh: KnownRuns, capfd: pytest.CaptureFixture[str]) -> None:
    mesh.add("run-1", [*texts(1, "a"), trace(2)], last=2)

    shown("run-1", trace=True)
    assert capfd.readouterr().out == "a.text>out.text: the last 1 items are omitted\n"
    shown("run-1", trace=True, json=True)
    assert [json.loads(line)["update"] for line in capfd.readouterr().out.splitlines()] == ["trace"]


def test_control_characters_of_a_run_are_shown_as_symbols(mesh: KnownRuns, capfd: pytest.CaptureFixture[str]) -> None:
    fault = Fault(code=Code.INTERNAL, reason="x", message="\x1b[3Jy")
    mesh.add("run-1", texts(1, "a"), last=1, reason="\x1b[2Jx", error=fault)

    shown("run-1")
    printed = capfd.readouterr().out
    assert "␛[2Jx" in printed
    assert "␛[3Jy" in printed
    assert "\x1b" not in printed


def test_several_runs_as_json_are_one_object_per_line(mesh: KnownRuns, capfd: pytest.CaptureFixture[str]) -> None:
    mesh.add("run-1", texts(1, "a"), last=1)
    mesh.add("run-2", texts(1, "b"), last=1)

    shown("run-1", "run-2", json=True)
    objects = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(one["run_id"], one["outputs"][0]["value"]) for one in objects] == [("run-1", "a"), ("run-2", "b")]
    assert [one["missed_updates"] for one in objects] == [0, 0]


@pytest.mark.parametrize("dropped", [8, 9, 40])
def test_a_run_that_has_dropped_all_its_updates_is_not_waited_for(
    mesh: KnownRuns, capfd: pytest.CaptureFixture[str], dropped: int
) -> None:
    mesh.add("run-1", gap(1, dropped), texts(dropped + 1, "later"), last=8)

    shown("run-1")
    printed = capfd.readouterr().out
    assert "No longer kept, and missing here: 8 updates of run-1." in printed
    assert "later" not in printed


def test_missing_updates_are_counted_in_whatever_is_printed(mesh: KnownRuns, capfd: pytest.CaptureFixture[str]) -> None:
    mesh.add("run-1", gap(1, 1_200), texts(1_201, "kept", "later"), last=1_201)
    line = "No longer kept, and missing here: 1,200 updates of run-1."

    shown("run-1")
    whole = capfd.readouterr()
    assert whole.out.split("\n\n", 1)[1].startswith(f"kept\n\n{line}")
    assert whole.err == ""
    shown("run-1", json=True)
    assert json.loads(capfd.readouterr().out)["missed_updates"] == 1_200
    for part in ("outputs", "updates", "trace"):
        shown("run-1", **{part: True})
        printed = capfd.readouterr()
        assert line not in printed.out
        assert printed.err.startswith(line)


def test_a_run_of_which_nothing_is_missing_has_no_line_about_it(
    mesh: KnownRuns, capfd: pytest.CaptureFixture[str]
) -> None:
    mesh.add("run-1", texts(1, "a"), last=1)

    shown("run-1")
    shown("run-1", outputs=True)
    printed = capfd.readouterr()
    assert "missing" not in printed.out + printed.err


def test_a_missing_run_is_reported_after_what_was_shown_before(
    mesh: KnownRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh.add("run-1", texts(1, "a"), last=1)
    mesh.add("run-2", texts(1, "b"), last=1)
    events: list[str] = []
    awaited = threading.Event()
    drain = Streams.drain

    async def drain_and_write(self: Streams) -> None:
        awaited.set()
        await drain(self)

    def write(fd: int, data: bytes) -> None:
        awaited.wait()  # the reader is so slow that nothing is written until it is waited for
        events.extend(line for line in data.decode().splitlines() if line in ("a", "b"))

    def note_report(error: Exception) -> ExitCode:
        events.append("error")
        return report(error)

    monkeypatch.setattr(Streams, "drain", drain_and_write)
    monkeypatch.setattr(streams, "_write", write)
    monkeypatch.setattr(show_command, "report", note_report)

    assert shown("run-1", "run-none", "run-2") == ExitCode.INVALID
    assert events == ["a", "error", "b"]


def test_an_empty_line_is_only_between_runs(mesh: KnownRuns, capfd: pytest.CaptureFixture[str]) -> None:
    mesh.add("run-1", last=0)
    mesh.add("run-2", last=0)

    assert shown("run-none", "run-1", "run-gone", "run-2") == ExitCode.INVALID
    printed = capfd.readouterr()
    assert [line.split(" · ")[0] for line in printed.out.splitlines()] == ["run-1", "", "run-2"]
    assert [line.split()[-1] for line in printed.err.splitlines()] == ["run-none", "run-gone"]


def test_no_further_run_is_fetched_once_standard_output_is_closed(
    mesh: KnownRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh.add("run-1", texts(1, "a"), last=1)
    mesh.add("run-2", texts(1, "b"), last=1)

    def write(fd: int, data: bytes) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(streams, "_write", write)

    assert shown("run-1", "run-2") == ExitCode.COMPLETED
    assert mesh.fetched == ["run-1"]


def test_outputs_that_were_delivered_before_a_failure_are_counted(
    mesh: KnownRuns, capfd: pytest.CaptureFixture[str]
) -> None:
    fault = Fault(code=Code.UNKNOWN, reason="node-error", message="ValueError: bad", details={"component": "m"})
    failed = {"state": RunState.FAILED, "ended_at": CREATED, "error": fault}
    mesh.add("run-1", texts(1, "a"), last=1, output_count=1, **failed)
    mesh.add("run-2", last=0, **failed)

    shown("run-1")
    assert capfd.readouterr().out.endswith("a\n\nm failed: ValueError: bad\nDelivered before that: 1 item.\n")
    shown("run-2")
    assert capfd.readouterr().out.endswith("\n\nm failed: ValueError: bad\nNothing was delivered before that.\n")


def test_the_heading_is_one_line(mesh: KnownRuns, capfd: pytest.CaptureFixture[str]) -> None:
    cancelled = {"state": RunState.CANCELLED, "ended_at": CREATED, "reason": "not\n  needed\nany more"}
    mesh.add("run-1", last=0, **cancelled)

    shown("run-1")
    assert capfd.readouterr().out == (
        "run-1 · p · cancelled · started 2025-01-02 03:04:05 UTC · 0.0 s · 0 outputs · not needed any more\n"
    )
