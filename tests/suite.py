"""Runs the tests in one call of pytest, which is what `make test` does: python tests/suite.py JOBS [ARGUMENTS OF PYTEST].

The plugin `workers` runs most tests in JOBS processes, and those that measure memory or time, or wait, in processes of their own.
With JOBS=0 pytest itself runs them one at a time, on the terminal.

Tests marked `heavy` are left to `make test-models`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence

import heavy
from rigs.commands import SHARED, start_server


def main(arguments: Sequence[str]) -> int:
    """Runs the tests. Returns the exit code of pytest.

    If all tests are to be run, the process that forks commands imports its modules while pytest collects.
    """
    with tempfile.TemporaryDirectory() as folder:
        set_environment(folder)
        if len(arguments) == 1:
            threading.Thread(target=start_server).start()
        return subprocess.run([sys.executable, "-m", "pytest", *options(arguments)], check=False).returncode


def options(arguments: Sequence[str]) -> list[str]:
    """The options of pytest. `-m` among the arguments narrows which tests are run."""
    jobs, *rest = arguments
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", dest="marks")
    known, others = parser.parse_known_args(rest)
    only = f"({known.marks}) and " if known.marks else ""
    ignored = [f"--ignore={folder}" for folder in heavy.FOLDERS]
    return [*others, "-m", f"{only}not heavy", "--workers", jobs, *ignored]


def set_environment(folder: str) -> None:
    """Sets the variables of the tests, whose processes share a folder.

    Python keeps compiled modules, which the processes of tests read. Models compute on one thread in each process, unless the
    caller says otherwise: more threads wait for each other, since several processes share the cores.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ[SHARED] = folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
