"""What blocks of output in pages permit."""

from __future__ import annotations

from pages import Block, differs

CALLS = "agent_1 · asking in Oslo 50%\nagent_1 · asking in Lisbon 50%\nagent_1 · weather answers: 9 (0.20 s)\nThe answer is ...\n"


def shown(info: str) -> Block:
    return Block("page:1", info, CALLS)


def test_calls_at_the_same_time_may_report_in_another_order_in_an_example() -> None:
    first, second, *_ = CALLS.splitlines()
    other = "\n".join([second, first, "agent_1 · weather answers: 7 (0.31 s)", "The answer is 7."])
    assert differs(shown("console"), other) == ""
    assert differs(shown("text"), other) != ""


def test_a_call_whose_result_comes_before_its_progress_differs() -> None:
    first, second, result, answer = CALLS.splitlines()
    assert differs(shown("console"), "\n".join([result, first, second, answer])) != ""


def test_a_call_that_is_missing_differs() -> None:
    assert differs(shown("console"), "\n".join(CALLS.splitlines()[1:])) != ""
