"""What `lanemesh conformance` prints, and its exit codes."""

from __future__ import annotations

import json

import pytest
from lanemesh_orchestrator.cli.app import main
from lanemesh_orchestrator.cli.commands.conformance import nodes_path, print_results, results_json
from lanemesh_orchestrator.conformance.checks import CHECKS
from lanemesh_orchestrator.conformance.runner import Result, Verdict, selected

PASSED, MISSED, SKIPPED = (
    Result(check=CHECKS[0], verdict=Verdict.PASSED),
    Result(check=CHECKS[1], verdict=Verdict.MISSED, expected="an instance_id", came="an empty one"),
    Result(check=CHECKS[2], verdict=Verdict.SKIPPED, detail="it takes 10 s or more"),
)


def test_a_miss_is_printed_with_what_was_expected_what_came_and_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    print_results([PASSED, MISSED, SKIPPED])
    out, err = capsys.readouterr()
    assert "expected  an instance_id" in out
    assert "came      an empty one" in out
    assert "rule      docs/protocol.md, Describe" in out
    assert "skipped: it takes 10 s or more" in out
    assert "1 passed, 1 missed, 1 skipped" in err


def test_results_are_json() -> None:
    report = results_json("127.0.0.1:7001", [PASSED, MISSED])
    assert json.loads(json.dumps(report)) == report
    assert not report["passed"]
    assert [check["result"] for check in report["checks"]] == ["passed", "missed"]
    assert report["checks"][1]["expected"] == "an instance_id"


def test_checks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [check["id"] for check in listed] == [check.id for check in CHECKS]


def test_the_file_with_the_node_types_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--nodes-file"]) == 0
    assert capsys.readouterr().out.strip() == str(nodes_path())
    assert nodes_path().is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "host:port"),
        (["--check", "no-such-check"], "There is no check no-such-check"),
        (["--level", "L9"], "L9"),
    ],
)
def test_wrong_arguments_are_rejected(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_levels_and_features_select_the_checks() -> None:
    everything = selected(["joins", "recovery", "preload", "quick-starts", "merged-frames", "short-lanes", "groups"])
    assert len(everything) == len(CHECKS)
    assert not [reason for _, reason in everything if reason]
    lowest = selected([], level="L0", slow=False)
    assert {check.level for check, _ in lowest} == {"L0"}
    assert {check.id for check, reason in lowest if reason} == {check.id for check, _ in lowest if check.slow}
    without = [check.level for check, reason in selected([]) if reason]
    assert set(without) == {"L1", "L3", "L4", "L5", "L6"}  # of L1 the part with a feature
