"""Runs the tests in two calls of pytest, which is what `make test` does: python tests/suite.py JOBS [ARGUMENTS OF PYTEST].

The first call runs most tests on JOBS processes. The second runs those marked `timing`, one at a time: they measure time or
memory, or another test beside them would disturb them. The first call saves its outcomes, so that the table of
`--conformance` and the lines of `--failure-tail` at the end of the second are those of both.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

PASSED, FAILED, NOTHING_RUN = 0, 1, 5
"""Exit codes of pytest after which the other call is still worth its time; any other one ends the suite."""


def main(arguments: Sequence[str]) -> int:
    """Runs both calls. Returns the exit code of pytest that stands for both."""
    with tempfile.TemporaryDirectory() as folder:
        beside, alone = calls(arguments, folder)
        first = _pytest(beside)
        if first not in (PASSED, FAILED, NOTHING_RUN):
            return first
        return together(first, _pytest(alone))


def calls(arguments: Sequence[str], folder: str) -> tuple[list[str], list[str]]:
    """The arguments of both calls, which hand outcomes on in a folder. `-m` among the arguments narrows both."""
    jobs, *rest = arguments
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", dest="marks")
    known, options = parser.parse_known_args(rest)
    only = f"({known.marks}) and " if known.marks else ""
    # Joined by "=": pytest would take a folder of its own for one with tests.
    beside = ["-m", f"{only}not timing", "-n", jobs, "--dist", "worksteal", f"--save-outcomes={folder}"]
    alone = ["-m", f"{only}timing", "-n", "0", f"--load-outcomes={folder}", "--timing-files"]
    return [*options, *beside], [*options, *alone]


def together(first: int, second: int) -> int:
    """The exit code for both calls. That nothing was run is an error only if it holds for both."""
    if second not in (PASSED, FAILED, NOTHING_RUN):
        return second
    if FAILED in (first, second):
        return FAILED
    return NOTHING_RUN if first == second == NOTHING_RUN else PASSED


def _pytest(options: Sequence[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *options], env=environment(), check=False).returncode


def environment() -> dict[str, str]:
    """The environment of the tests.

    Python keeps compiled modules, which the second call and the processes of tests read. Models compute on one thread in each
    process, unless the caller says otherwise: more threads wait for each other, since several processes share the cores.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {"OMP_NUM_THREADS": "1", **kept}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
