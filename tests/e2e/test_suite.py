"""What `make test` runs: one call of pytest, whose tests run in processes by their kinds."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from failure_tail import LINES
from pages import ROOT
from rigs.commands import SHARED
from suite import main, options
from workers import Queue

TESTS = """
import os
import sys
import warnings
from pathlib import Path

import pytest

EARLY = sys.stderr
HERE = Path(__file__).parent
COLLECTED_BY = os.getpid()

def record(kind):
    with (HERE / "ran").open("a") as file:
        file.write(f"{kind} {os.getpid()} {COLLECTED_BY}\\n")

@pytest.mark.timing
@pytest.mark.conformance("LANE-03")
def test_alone():
    record("timing")

@pytest.fixture(autouse=True)
def folder(tmp_path_factory):
    (HERE / f"folder-{os.getpid()}").write_text(str(tmp_path_factory.getbasetemp()))

@pytest.mark.parametrize("number", range(2))
def test_beside_others(number):
    record("most")

@pytest.mark.conformance("LANE-01")
def test_fails():
    record("most")
    print("printed by a test")
    print("printed to the stream of the collection", file=EARLY)
    warnings.warn("about a test")
    assert 1 == 2

@pytest.mark.conformance("LANE-02")
def test_passes():
    record("most")

@pytest.mark.apart
@pytest.mark.conformance("LANE-04")
def test_apart():
    record("apart")
    assert 3 == 4

@pytest.mark.waits
@pytest.mark.parametrize("number", range(2))
def test_waits(number):
    record("waits")
"""

CRASHING = """
import os
import signal
import pytest

@pytest.fixture(scope="session")
def shared():
    yield
    print("the fixture ended")

def test_before(shared):
    pass

@pytest.mark.conformance("LANE-01")
def test_crashes():
    os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.parametrize("number", range(3))
def test_after(number, shared):
    pass
"""

FIXTURES = """
import os
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent

@pytest.fixture(scope="session")
def shared():
    yield
    (HERE / f"ended-{os.getpid()}").touch()

@pytest.mark.parametrize("number", range(2))
def test_waits(number, shared):
    print("it waits", flush=True)
    time.sleep(60)
"""


def command_on(file: Path, *command: str) -> list[str]:
    """The command that runs the tests of a file with the plugins of this repository."""
    plugins = ["-p", "conformance_table", "-p", "failure_tail", "-p", "workers", "-p", "no:cacheprovider"]
    config = ["--rootdir", str(file.parent), "-c", str(ROOT / "pyproject.toml")]
    return [sys.executable, *command, *config, *plugins, "--conformance", "--failure-tail", str(file)]


def pytest_on(file: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs the tests of a file with the plugins of this repository."""
    return subprocess.run(
        command_on(file, *command), cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("jobs", [0, 2])
def test_each_kind_has_its_processes_and_the_end_shows_the_outcomes_of_all(jobs: int, tmp_path: Path) -> None:
    file = tmp_path / "test_of_four_kinds.py"
    file.write_text(TESTS)

    done = pytest_on(file, "tests/suite.py", str(jobs))

    assert done.returncode == 1
    assert re.findall(r"\d+ (?:passed|failed|warning)", done.stdout) == ["2 failed", "6 passed", "1 warning"]
    rows = dict(re.findall(r"(LANE-0[1-4]) +required +1 +(\w+)", done.stdout))
    assert rows == {"LANE-01": "FAILS", "LANE-02": "holds", "LANE-03": "holds", "LANE-04": "FAILS"}
    assert "printed by a test" in done.stdout
    assert "printed to the stream of the collection" in done.stdout
    assert "UserWarning: about a test" in done.stdout
    last = done.stdout.splitlines()[-LINES:]
    assert any(line.startswith("FAILED ") and line.endswith("::test_fails") for line in last)
    assert any("assert 1 == 2" in line for line in last)
    assert any("assert 3 == 4" in line for line in last)
    ran = [line.split() for line in (tmp_path / "ran").read_text().splitlines()]
    expected = {"apart": 1, "most": max(jobs, 1), "waits": 1, "timing": 1}
    processes = {kind: {process for of, process, _ in ran if of == kind} for kind in expected}
    assert {kind: len(ids) for kind, ids in processes.items()} == expected
    assert len(set().union(*processes.values())) == (sum(expected.values()) if jobs else 1)
    assert len({collected_by for _, _, collected_by in ran}) == 1
    assert ran[-1][0] == "timing"
    folders = {folder.read_text() for folder in tmp_path.glob("folder-*")}
    assert len(folders) == (sum(expected.values()) if jobs else 1)


def test_a_test_that_ends_its_process_fails_and_the_others_run(tmp_path: Path) -> None:
    file = tmp_path / "test_crashing.py"
    file.write_text(CRASHING)

    done = pytest_on(file, "tests/suite.py", "1")

    assert done.returncode == 1
    assert re.findall(r"\d+ (?:passed|failed)", done.stdout) == ["1 failed", "4 passed"]
    assert "test_crashes" in done.stdout
    assert "the process of this test ended with exit code -9" in done.stdout
    assert re.search(r"LANE-01 +required +1 +FAILS", done.stdout)


def test_a_test_that_its_timeout_does_not_end_fails_and_the_others_run(tmp_path: Path) -> None:
    file = tmp_path / "test_hanging.py"
    file.write_text(
        "import threading\n\ndef test_hangs():\n    threading.Event().wait()\n\ndef test_after():\n    pass\n"
    )

    done = pytest_on(file, "tests/suite.py", "1", "--worker-limit", "1")

    assert done.returncode == 1
    assert re.findall(r"\d+ (?:passed|failed)", done.stdout) == ["1 failed", "1 passed"]
    assert "the process of this test ended with exit code -9" in done.stdout


def test_the_first_failure_ends_all_if_that_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "test_failing.py"
    file.write_text("import pytest\n\n@pytest.mark.parametrize('n', range(50))\ndef test_it(n):\n    assert n > 0\n")

    done = pytest_on(file, "tests/suite.py", "1", "-x")

    assert done.returncode != 0
    assert "stopping after 1 failures" in done.stdout
    assert len((re.findall(r"\d+ passed", done.stdout) or [""])[0]) < len("50 passed")


def test_an_interrupt_ends_the_processes_and_their_fixtures(tmp_path: Path) -> None:
    file = tmp_path / "test_waiting.py"
    file.write_text(FIXTURES)
    with subprocess.Popen(
        command_on(file, "-m", "pytest", "--workers", "2", "-s"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        waiting = 0
        while waiting < 2:
            line = running.stdout.readline()
            assert line, "it has ended"
            waiting += line.count("it waits")
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=60)

    assert "KeyboardInterrupt" in output
    assert running.returncode == 2
    assert len(list(tmp_path.glob("ended-*"))) == 2


def test_arguments_narrow_the_call() -> None:
    given = ["tests/unit", "-k", "a or b", "-m"]
    narrowed = options(["3", *given, "conformance or model"])
    assert narrowed[:6] == [*given, "(conformance or model) and not heavy", "--workers"]
    assert narrowed[6] == "3"


@pytest.mark.parametrize(("arguments", "starts"), [(["3"], True), (["3", "-k", "inbox"], False)])
def test_what_forks_commands_imports_while_all_tests_are_collected(
    arguments: list[str], starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (SHARED, "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.setenv(name, "1")
    begun: list[str] = []

    class Thread:
        def __init__(self, target: Callable[[], None]) -> None:
            self.start = target

    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        begun.append("pytest")
        return subprocess.CompletedProcess([], 4)

    monkeypatch.setattr("suite.start_server", lambda: begun.append("what forks"))
    monkeypatch.setattr("suite.threading.Thread", Thread)
    monkeypatch.setattr("suite.subprocess.run", run)

    assert main(arguments) == 4
    assert begun == (["what forks", "pytest"] if starts else ["pytest"])


def test_an_id_that_the_page_does_not_list_is_named(tmp_path: Path) -> None:
    file = tmp_path / "test_mistyped.py"
    file.write_text('import pytest\n\n@pytest.mark.conformance("NO-01")\ndef test_it():\n    pass\n')
    done = pytest_on(file, "-m", "pytest")
    assert done.returncode == 2
    assert "test_it shows 'NO-01', which docs/conformance.md does not list" in done.stdout


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_a_queue_returns_each_test_once(workers: int) -> None:
    queue = Queue(range(20), workers)
    first = [queue.next(0) for _ in range(5)]
    assert first == [0, 1, 2, 3, 4] or workers > 4
    queue.put_back(0, [test for test in first[3:] if test is not None])
    taken = first[:3]
    while (test := queue.next(workers - 1)) is not None:
        taken.append(test)
    assert sorted(test for test in taken if test is not None) == list(range(20))
    assert queue.next(0) is None


def test_a_worker_without_tests_gets_the_second_half_of_the_longest_row() -> None:
    queue = Queue(range(12), 2)
    assert [queue.next(1) for _ in range(9)] == [6, 7, 8, 9, 10, 11, 3, 4, 5]
    assert queue.next(0) == 0
