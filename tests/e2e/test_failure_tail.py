"""What a failing run of the tests says last."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from failure_tail import LINES, failure_tail
from pages import ROOT

FAILING = """
import asyncio
import pytest

def test_passes():
    pass

def test_fails():
    assert 1 == 2

async def never():
    await asyncio.Event().wait()

@pytest.mark.timeout(0.5)
async def test_hangs():
    await never()

@pytest.fixture
def broken():
    yield
    raise OSError("cannot let go")

def test_ends_badly(broken):
    pass

def test_fails_too():
    assert 3 == 4
"""


def test_the_ends_of_the_first_failures_are_the_last_lines(tmp_path: Path) -> None:
    file = tmp_path / "test_failing.py"
    file.write_text(FAILING)
    options = [
        "--rootdir",
        str(tmp_path),
        "-c",
        str(ROOT / "pyproject.toml"),
        "-p",
        "failure_tail",
        "--failure-tail",
        "-p",
        "no:cacheprovider",
    ]

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 1
    tail = ran.stdout.splitlines()[-LINES:]
    names = [line.rpartition("::")[2] for line in tail if line.startswith("FAILED ")]
    assert names[-3:] == ["test_fails", "test_hangs", "test_ends_badly (teardown)"]
    assert any("assert 1 == 2" in line for line in tail)
    assert any("in never (test_failing.py:12), in Event.wait" in line for line in tail)
    assert any("OSError: cannot let go" in line for line in tail)
    assert tail[-1] == "and 1 more"


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_they_are_few_lines_however_much_there_is_to_tell(count: int) -> None:
    told = "\n".join(f"line {number}" for number in range(100))

    lines = failure_tail([(f"test_{number}", told) for number in range(count)])

    assert len(lines) <= LINES
    assert [line for line in lines if line.startswith("FAILED")] == [f"FAILED test_{n}" for n in range(min(count, 3))]
    assert lines.count("line 99") == min(count, 3)
    assert (lines[-1] == "and 27 more") == (count == 30)
