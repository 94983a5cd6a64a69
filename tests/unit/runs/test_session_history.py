"""The history of a session has whole exchanges with tools alone."""

from __future__ import annotations

import pytest
from lanemesh.values import Message, ToolCall
from lanemesh_orchestrator.sessions.conversation import consistent

ASKED = Message("user", "What?")
CALLED = Message("assistant", "Well.", (ToolCall("1", "look", "{}"), ToolCall("2", "wait", "{}")))
SILENT = Message("assistant", "", CALLED.tool_calls)
SAID = Message("assistant", "Well.")
ONE, TWO = Message("tool", "a", tool_call_id="1"), Message("tool", "b", tool_call_id="2")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([ASKED, CALLED, ONE, TWO, SAID], [ASKED, CALLED, ONE, TWO, SAID]),
        ([ASKED, CALLED, TWO, ONE], [ASKED, CALLED, TWO, ONE]),
        ([ASKED, CALLED, ONE, ASKED], [ASKED, SAID, ASKED]),
        ([ASKED, CALLED], [ASKED, SAID]),
        ([ASKED, SILENT], [ASKED]),
        ([ONE, TWO, SAID], [SAID]),
        ([], []),
    ],
)
def test_calls_without_results_and_results_without_calls_are_left_out(
    given: list[Message], kept: list[Message]
) -> None:
    assert list(consistent(given)) == kept
