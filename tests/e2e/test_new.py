"""`lanemesh new`: what it writes is lint-clean, and its tests pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rigs import commands


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["node", "pipeline", "service"])
def test_what_is_written_is_lint_clean_and_its_test_passes(tmp_path: Path, kind: str) -> None:
    written = commands.run("new", kind, "first_words", folder=tmp_path)
    assert written.returncode == 0, written.stderr
    assert all((tmp_path / line).is_file() for line in written.stdout.splitlines())
    folder = tmp_path / "first_words" if kind == "service" else tmp_path
    lint = run(
        folder,
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select=E,F,I,B,UP",
        "--line-length=100",
        ".",
    )
    assert lint.returncode == 0, lint.stdout
    formatted = run(folder, sys.executable, "-m", "ruff", "format", "--isolated", "--check", "--line-length=100", ".")
    assert formatted.returncode == 0, formatted.stdout
    tested = run(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout
    again = commands.run("new", kind, "first_words", folder=tmp_path)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)


@pytest.mark.parametrize("name", ["../up", "json", "class", "Großes", "", "1st", "lanemesh"])
def test_a_name_that_is_no_module_is_refused(tmp_path: Path, name: str) -> None:
    done = commands.run("new", "node", name, folder=tmp_path)
    assert (done.returncode, "name of a node" in done.stderr) == (2, True)
    assert not list(tmp_path.iterdir())
