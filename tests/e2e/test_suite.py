"""What `make test` runs: three calls of pytest that end as one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from failure_tail import LINES
from pages import ROOT
from suite import calls, together

TESTS = """
import os
import pytest

def test_beside_others():
    assert os.environ.get("PYTEST_XDIST_WORKER")

@pytest.mark.conformance("LANE-01")
def test_fails():
    assert 1 == 2

@pytest.mark.conformance("LANE-02")
def test_passes():
    pass

@pytest.mark.apart
@pytest.mark.conformance("LANE-04")
def test_apart():
    assert not os.environ.get("PYTEST_XDIST_WORKER")
    assert 3 == 4

@pytest.mark.timing
@pytest.mark.conformance("LANE-03")
def test_alone():
    assert not os.environ.get("PYTEST_XDIST_WORKER")
"""


def pytest_on(file: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs the tests of a file with the plugins of this repository."""
    plugins = ["-p", "conformance_table", "-p", "failure_tail", "-p", "files_with_mark", "-p", "no:cacheprovider"]
    config = ["--rootdir", str(file.parent), "-c", str(ROOT / "pyproject.toml")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST_")}
    return subprocess.run(
        [sys.executable, *command, *config, *plugins, "--conformance", "--failure-tail", str(file)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_last_call_ends_with_the_outcomes_of_all(tmp_path: Path) -> None:
    file = tmp_path / "test_of_three_kinds.py"
    file.write_text(TESTS)

    done = pytest_on(file, "tests/suite.py", "2")

    assert done.returncode == 1
    assert re.findall(r"\d passed|\d failed", done.stdout) == ["1 failed", "2 passed", "1 failed", "1 passed"]
    rows = dict(re.findall(r"(LANE-0[1-4]) +required +1 +(\w+)", done.stdout))
    assert rows == {"LANE-01": "FAILS", "LANE-02": "holds", "LANE-03": "holds", "LANE-04": "FAILS"}
    last = done.stdout.splitlines()[-LINES:]
    assert any(line.startswith("FAILED ") and line.endswith("::test_fails") for line in last)
    assert any("assert 1 == 2" in line for line in last)
    assert any("assert 3 == 4" in line for line in last)


def test_arguments_narrow_every_call(tmp_path: Path) -> None:
    plan = calls(["3", "tests/unit", "-k", "a or b", "-m", "conformance or model"], tmp_path)
    given = ["tests/unit", "-k", "a or b", "-m"]
    assert plan.most[:7] == [*given, "(conformance or model) and not timing and not apart and not heavy", "-n", "3"]
    assert plan.apart[:7] == [*given, "(conformance or model) and apart and not heavy", "-n", "0"]
    assert plan.timing[:7] == [*given, "(conformance or model) and timing and not heavy", "-n", "0"]


def test_an_id_that_the_page_does_not_list_is_named(tmp_path: Path) -> None:
    file = tmp_path / "test_mistyped.py"
    file.write_text('import pytest\n\n@pytest.mark.conformance("NO-01")\ndef test_it():\n    pass\n')
    done = pytest_on(file, "-m", "pytest")
    assert done.returncode == 2
    assert "test_it shows 'NO-01', which docs/conformance.md does not list" in done.stdout


@pytest.mark.parametrize("mark", ["timing", "apart"])
def test_a_mark_that_another_file_sets_is_refused(mark: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        f"import pytest\n\ndef pytest_itemcollected(item):\n    item.add_marker(pytest.mark.{mark})\n"
    )
    file = tmp_path / "test_marked.py"
    file.write_text("def test_it():\n    pass\n")
    done = pytest_on(file, "-m", "pytest")
    assert done.returncode != 0
    assert "test_it is marked by another file" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("codes", "all_together"),
    [
        ((0, 5, 0), 0),
        ((5, 0, 5), 0),
        ((5, 5, 5), 5),
        ((1, 0, 0), 1),
        ((0, 1, 0), 1),
        ((0, 0, 1), 1),
        ((1, 5, 5), 1),
        ((0, 2), 2),
        ((1, 0, 3), 3),
    ],
)
def test_the_codes_of_the_calls_are_one(codes: Sequence[int], all_together: int) -> None:
    assert together(codes) == all_together
