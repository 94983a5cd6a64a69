"""Text of others on the terminal: control characters and markup are shown, not obeyed."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from lanemesh.client.deployment_info import DeploymentInfo, DeploymentState
from lanemesh.client.records import RunRecord
from lanemesh.client.sessions import SessionInfo, Turn
from lanemesh.client.updates import RunState
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import gpu_pb2
from lanemesh.values import Answer, Question
from lanemesh_orchestrator.cli.commands import deployments, gpu, nodes, runs, sessions
from lanemesh_orchestrator.cli.output import errors
from lanemesh_orchestrator.cli.output.live_view import _Canvas
from lanemesh_orchestrator.cli.output.streams import Streams
from lanemesh_orchestrator.cli.output.visible import visible
from rich.text import Text

NOW = datetime.now(UTC)
WRITTEN = "[/b] a[i] \x1b]0;pwned\x07\x1b[2Jx\x9b1m"
SHOWN = "[/b] a[i] ␛]0;pwned␇␛[2Jx\ufffd1m"


def session() -> SessionInfo:
    return SessionInfo(id="s", deployment="d", title=WRITTEN, last_turn=1, used_at=NOW, created_at=NOW, expires_at=NOW)


def record() -> RunRecord:
    return RunRecord(run_id="run-1", name=WRITTEN, state=RunState.RUNNING, created_at=NOW)


def deployed() -> DeploymentInfo:
    return DeploymentInfo(name="d", version=1, state=DeploymentState.READY, created_at=NOW, detail=WRITTEN)


def waiting() -> gpu_pb2.LeaseStatus:
    return gpu_pb2.LeaseStatus(position=1, reason=WRITTEN)


@pytest.mark.parametrize("text", ["", "a\n\tb", "ä 界 🙂\u200d", SHOWN])
def test_other_text_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_control_characters_are_symbols_of_one_column_and_windows_line_breaks_are_line_breaks() -> None:
    assert visible(WRITTEN) == SHOWN
    assert visible("\0\r\x7f\r\n") == "␀␍␡\n"


@pytest.mark.parametrize(
    "table",
    [
        lambda: sessions._print_table([session()]),
        lambda: runs._print_table([record()]),
        lambda: deployments._print_table([deployed()]),
        lambda: nodes.print_rich(gpu.tables([], [waiting()])[-1]),
    ],
    ids=["sessions", "runs", "deployments", "gpu"],
)
def test_a_table_has_the_texts_of_its_cells(table: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> None:
    table()

    assert SHOWN in capsys.readouterr().out


def test_a_session_is_shown_without_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    question, answer = Question(WRITTEN), Answer(WRITTEN)
    turn = Turn(number=1, run_id="r", state=RunState.COMPLETED, question=question, answer=answer, created_at=NOW)
    monkeypatch.setattr(sessions, "on_mesh", lambda mesh, work: (session(), [turn]))
    sessions.show_session("s", mesh="", as_json=False)

    assert capsys.readouterr().out.strip() == f"1> {SHOWN}\n\n{SHOWN}"


def test_an_error_is_shown_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    errors.report(LanemeshError(Fault(code=Code.INTERNAL, reason="x", message=WRITTEN)))

    assert SHOWN in capsys.readouterr().err


def test_a_drawing_has_no_control_characters_of_others() -> None:
    drawn = io.StringIO()
    _Canvas(file=drawn, force_terminal=True, width=80).print(Text(WRITTEN, style="dim"))

    shown = SHOWN.replace("␇", "")  # rich leaves it out
    assert drawn.getvalue() == f"\x1b[2m{shown}\x1b[0m\n"


async def test_notes_and_outputs_on_a_terminal_have_none_and_outputs_elsewhere_are_unchanged(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    streams = Streams()
    streams.note(WRITTEN)
    streams.out(WRITTEN)
    streams.out_is_terminal = True
    streams.out(f"\n{WRITTEN}\n")
    streams.out(WRITTEN.encode())
    await streams.drain()

    written = capfdbinary.readouterr()
    assert written.err.decode() == f"{SHOWN}\n"
    assert written.out.decode() == f"{WRITTEN}\n{SHOWN}\n{WRITTEN}"
