"""The exhaustive check of protos/model/lane.pml by spin."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

MODEL = Path(__file__).parents[2] / "protos" / "model"
SECONDS = 100.0
"""The longest that one program may take."""
SMALL = ("-w20", "-m10000")
"""2^20 entries in the hash table, and the longest path."""
LTL = "-a"


def check(
    folder: Path,
    source: Path = MODEL,
    *,
    defines: Sequence[str] = (),
    options: Sequence[str] = (),
    ltl: bool = False,
) -> str:
    """Tries every order of the steps of the model in `source`.

    Args:
        folder: an empty one, for the checker.
        source: the folder of the model.
        defines: such as "N=3".
        options: of the compiler, such as "-DNOREDUCE".
        ltl: checks that every lane ends, instead of the assertions and of deadlocks.

    Returns:
        The error of the shortest trail that was found; empty if there is none.
    """
    _run(["spin", *(f"-D{define}" for define in defines), "-a", str(source / "lane.pml")], folder)
    kind = [] if ltl else ["-DSAFETY", "-DNOCLAIM"]
    _run(["gcc", "-O1", "-w", "-DCOLLAPSE", *kind, *options, "-o", "pan", "pan.c"], folder)
    printed = _run(["./pan", *SMALL, *([LTL] if ltl else [])], folder)
    found = re.search(r"errors: (\d+)", printed)
    assert found is not None, printed
    assert "max search depth too small" not in printed, printed
    if found[1] == "0":
        return ""
    error = re.search(r"^pan:1: (.*)$", printed, re.MULTILINE)
    assert error is not None, printed
    return error[1]


def states(folder: Path) -> int:
    """The number of states of the model."""
    printed = _run(["./pan", *SMALL], folder)
    found = re.search(r"(\d+) states, stored", printed)
    assert found is not None, printed
    return int(found[1])


def unreached(folder: Path) -> list[str]:
    """The statements of the processes that no order of the steps has reached."""
    return re.findall(r"^\t(lane\.pml:\d+.*)$", _run(["./pan", *SMALL], folder), re.MULTILINE)


def _run(command: Sequence[str], folder: Path) -> str:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
    return ran.stdout
