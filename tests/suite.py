"""Runs the tests in three calls of pytest, which is what `make test` does: python tests/suite.py JOBS [ARGUMENTS OF PYTEST].

The first call runs most tests on JOBS processes. Beside it, the second runs those marked `apart` in one process of its own: they
measure memory, which no other test has used there before, or wait for a minute. The third follows and runs those marked `timing`,
one at a time: they measure time, or another test beside them would disturb them. The first two calls save their outcomes, so that
the table of `--conformance` and the lines of `--failure-tail` at the end of the third are those of all.

Tests marked `heavy` are left to `make test-models`.

With JOBS=0 the calls follow each other, and each has the terminal.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import heavy
from rigs.commands import SHARED

PASSED, FAILED, NOTHING_RUN = 0, 1, 5
"""Exit codes of pytest after which the other calls are still worth their time; any other one ends the suite."""


@dataclass(frozen=True)
class Calls:
    """The arguments of the calls of pytest."""

    most: Sequence[str]
    apart: Sequence[str]
    timing: Sequence[str]


def main(arguments: Sequence[str]) -> int:
    """Runs the calls. Returns the exit code of pytest that stands for all."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[SHARED] = folder
        plan = calls(arguments, Path(folder))
        codes = [_pytest(plan.most), _pytest(plan.apart)] if arguments[0] == "0" else _beside(plan, Path(folder))
        if any(code not in (PASSED, FAILED, NOTHING_RUN) for code in codes):
            return together(codes)
        return together([*codes, _pytest(plan.timing)])


def calls(arguments: Sequence[str], folder: Path) -> Calls:
    """The calls, which hand outcomes on in subfolders of a folder. `-m` among the arguments narrows each."""
    jobs, *rest = arguments
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", dest="marks")
    known, options = parser.parse_known_args(rest)
    only = f"({known.marks}) and " if known.marks else ""
    outcomes = [folder / "most", folder / "apart"]
    for one in outcomes:
        one.mkdir(exist_ok=True)
    # Joined by "=": pytest would take a folder of its own for one with tests.
    save = [f"--save-outcomes={one}" for one in outcomes]
    load = [f"--load-outcomes={one}" for one in outcomes]
    ignored = [f"--ignore={folder}" for folder in heavy.FOLDERS]
    return Calls(
        most=[
            *options,
            "-m",
            f"{only}not timing and not apart and not heavy",
            "-n",
            jobs,
            "--dist",
            "worksteal",
            save[0],
            *ignored,
        ],
        apart=[*options, "-m", f"{only}apart and not heavy", "-n", "0", "--only-files-with=apart", save[1], *ignored],
        timing=[*options, "-m", f"{only}timing and not heavy", "-n", "0", "--only-files-with=timing", *load, *ignored],
    )


def together(codes: Sequence[int]) -> int:
    """The exit code for all calls. That nothing was run is an error only if it holds for all."""
    for code in codes:
        if code not in (PASSED, FAILED, NOTHING_RUN):
            return code
    if FAILED in codes:
        return FAILED
    return NOTHING_RUN if set(codes) == {NOTHING_RUN} else PASSED


def _beside(plan: Calls, folder: Path) -> Sequence[int]:
    """Runs two calls at a time, and prints what the second has printed after the first. Returns both exit codes."""
    printed = folder / "apart.txt"
    with printed.open("wb") as file, _started(plan.apart, file.fileno()) as apart:
        codes = [_pytest(plan.most), apart.wait()]
    print(printed.read_text(encoding="utf-8", errors="replace"), end="", flush=True)
    return codes


def _pytest(options: Sequence[str]) -> int:
    with _started(options) as process:
        return process.wait()


def _started(options: Sequence[str], output: int | None = None) -> subprocess.Popen[bytes]:
    standard_input = subprocess.DEVNULL if output is not None else None
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *options],
        env=environment(),
        stdin=standard_input,
        stdout=output,
        stderr=output,
    )


def environment() -> dict[str, str]:
    """The environment of the tests.

    Python keeps compiled modules, which the other calls and the processes of tests read. Models compute on one thread in each
    process, unless the caller says otherwise: more threads wait for each other, since several processes share the cores.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {"OMP_NUM_THREADS": "1", **kept}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
