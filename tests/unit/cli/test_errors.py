"""A failed run as people read it."""

from __future__ import annotations

import pytest
from lanemesh.faults import Code, Fault
from lanemesh_orchestrator.cli.exits import NOTHING_DELIVERED, ExitCode, RunFailed
from lanemesh_orchestrator.cli.output.errors import describe, render_failure


def shown(message: str, **details: str) -> str:
    """The first line about a fault of bad_1, a node of the type bad."""
    about = {"component": "bad_1", "provider": "bad", "server": "more", **details}
    fault = Fault(code=Code.INVALID_ARGUMENT, reason="bad-result", message=message, details=about)
    return render_failure(fault, NOTHING_DELIVERED, embedded=True).split("\n")[0]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("bad_1 (bad): process returned str; return a dict.", "process returned str; return a dict."),
        ("bad_1: one firing took longer than its timeout of 1 s", "one firing took longer than its timeout of 1 s"),
        ('bad_1 has no output "nowhere"; its outputs: word', 'it has no output "nowhere"; its outputs: word'),
        ("the input bad_1.a got 'x', which is not a float", "the input a got 'x', which is not a float"),
        ("the input bad_10.a got 'x'", "the input bad_10.a got 'x'"),
    ],
)
def test_the_component_is_named_once(message: str, line: str) -> None:
    assert shown(message) == f"bad_1 (bad) failed: {line}"


def test_what_a_node_raised_is_left_as_it_is() -> None:
    assert shown("ValueError: bad_1.a", exception="ValueError") == "bad_1 (bad) failed: ValueError: bad_1.a"


def test_a_missing_model_is_the_message_alone() -> None:
    fault = Fault(
        code=Code.FAILED_PRECONDITION,
        reason="model-missing",
        message='The model "m" is not installed, which you get with: lanemesh models get m',
        details={"component": "a", "provider": "ner"},
    )
    described = describe(RunFailed(fault, NOTHING_DELIVERED, embedded=True))
    assert described == (f"a (ner) failed: {fault.message}", ExitCode.FAILED)


def test_what_was_delivered_before_a_model_was_missed_is_said() -> None:
    fault = Fault(code=Code.FAILED_PRECONDITION, reason="model-missing", message="The model m is not installed")
    text, _ = describe(RunFailed(fault, "Delivered before that: 1 item by out.", embedded=True))
    assert "Delivered before that: 1 item by out." in text
