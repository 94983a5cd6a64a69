"""What is written to standard error while outputs are printed."""

from __future__ import annotations

import sys

from lanemesh_orchestrator.cli.output.logs import MAX_LINE, Lines, written_by


def test_lines_are_passed_on_whole_and_what_has_no_end_at_the_end() -> None:
    said: list[str] = []
    with written_by(said.append):
        sys.stderr.write("one\ntw")
        assert said == ["one"]
        sys.stderr.write("o\nthree")
    assert said == ["one", "two", "three"]


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    said: list[str] = []
    lines = Lines(said.append)
    for _ in range(10 * MAX_LINE):
        lines.write("\r")
    assert len("".join(said)) >= 9 * MAX_LINE


def test_lines_that_come_as_updates_are_left_out() -> None:
    said: list[str] = []
    lines = Lines(said.append, ["chat_1"])
    lines.write("server | chat_1: hello\nserver | other: hello\n")
    assert said == ["server | other: hello"]
