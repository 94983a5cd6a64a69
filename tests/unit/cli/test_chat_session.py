"""The conversation of `lanemesh chat --session`: what it reports of earlier turns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from lanemesh.client.sessions import Turn
from lanemesh.client.updates import RunState
from lanemesh.values import Answer, Question
from lanemesh_orchestrator.cli.commands.chat_session import ChatOptions, Session
from lanemesh_orchestrator.cli.input.documents import PipelineFile


class Kept:
    """A mesh that keeps a session with these turns, and the session."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns

    def session(self, pipeline: Any, id: str) -> Kept:  # noqa: A002
        return self

    async def turns(self) -> Sequence[Turn]:
        return self._turns


async def reported(*turns: Turn) -> None:
    session = Session(ChatOptions(pipe="chat.pipe", session="s"), PipelineFile("chat.pipe", "{}"), {})
    session._opened = Kept(turns)  # type: ignore[assignment]
    await session._report_turns()


async def test_the_last_turn_is_reported_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    question, now = Question("what is\n \x1b[2Jthis?"), datetime.now(UTC)
    await reported(
        Turn(number=1, run_id="r", question=question, answer=Answer(""), state=RunState.COMPLETED, created_at=now)
    )

    assert capsys.readouterr().err == "The conversation goes on after 1 turns, the last: what is ␛[2Jthis?\n"


async def test_a_session_that_was_forked_before_its_only_turn_ended_has_nothing_to_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await reported()

    assert capsys.readouterr().err == ""
