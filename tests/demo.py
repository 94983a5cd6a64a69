"""Runs the examples of the catalogue by the commands of examples/README.md, embedded, then spread: python tests/demo.py [NAME...].

This is what `make demo-all` does. Each command is printed before it runs, with a part of its output after it, and a table of what
passed comes last. A command passes if it ends with 0, prints what the page shows, and writes the files that it names. The exit code
is 1 if one of them failed. The files lie in build/demo.

A command whose block says `sh needs PROGRAM` is left out where there is no such program, and that is printed. Examples that ask
remote services get the variables of local ones (tests/demo_servers.py); a block `sh elsewhere` shows readers what they set.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from lanemesh.faults import LanemeshError
from lanemesh.server.environments import interpreter_of

from demo_servers import variables
from pages import ROOT, Block, blocks, differs

EXAMPLES = ROOT / "examples"
CATALOGUE = (
    "ask_documents",
    "index_folder",
    "read_documents",
    "summarise_call",
    "voice_turn",
    "scan_invoice",
    "postcard",
    "moderated_chat",
    "orders",
    "translate_file",
    "private_chat",
    "compare_stores",
    "painted_video",
    "news_watch",
    "ask_hosted",
    "ask_web",
    "read_web",
    "release_notes",
    "call_tools",
    "sort_pictures",
    "crew",
)
"""The examples that need libraries of the extra `catalogue`, local servers or permissions. tests/e2e/test_examples.py runs the
others."""
WITH_DATABASE = frozenset({"ask_hosted"})
"""The examples that need a database of PostgreSQL with pgvector."""
WITH_ENVIRONMENT = MappingProxyType({"crew": "crewai"})
"""The services with a Python environment of their own that examples need."""
LOOPBACK = MappingProxyType(
    {
        "news_watch": "--set read_1.private=true --set post_1.private=true",
        "ask_web": '--set search_1.base_url="$EXA_BASE_URL" --set llm_1.base_url="$GEMINI_BASE_URL"',
        "read_web": '--set search_1.base_url="$EXA_BASE_URL" --set http_1.private=true',
    }
)
"""Options without which an example does not connect to local servers, by its name."""
SECONDS = 300.0
"""Longest that a command may take: the first one imports torch, from a cold disk perhaps."""
LINES, WIDTH = 6, 160
"""How much of its output is printed."""


class Where(StrEnum):
    """Where the components of a pipeline run."""

    EMBEDDED = "embedded"
    SPREAD = "spread"


class State(StrEnum):
    """What became of a command."""

    PASSED = "passed"
    FAILED = "failed"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a command."""

    state: State
    seconds: float = 0.0
    """How long it took."""
    printed: str = ""
    """Its standard output."""
    reason: str = ""
    """Why it failed or was left out; else empty."""


def example_blocks() -> dict[str, list[Block]]:
    """The blocks of examples/README.md with commands, by the names of their pipelines, in the order of the page."""
    found: dict[str, list[Block]] = {}
    for block in blocks(EXAMPLES / "README.md"):
        if block.info == "sh elsewhere":
            continue
        found.setdefault(re.findall(r"examples/(\w+)\.pipe", block.text)[0], []).append(block)
    return found


def commands(block: Block) -> list[str]:
    """The commands of a block. One that goes on after a backslash is one command."""
    return re.sub(r" *\\\n *", " ", block.text).strip().splitlines()


def located(command: str, where: Where) -> str:
    """A command of the page, changed so that its pipeline runs in a certain place."""
    name = next(iter(re.findall(r"examples/(\w+)\.pipe", command)), "")
    options = " ".join(filter(None, ("--spread" if where is Where.SPREAD else "", LOOPBACK.get(name, ""))))
    return command.replace("lanemesh run", f"lanemesh run {options}".rstrip())


def clone(folder: Path) -> None:
    """Copies the examples into a new folder, where their commands run and leave what they write."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("__pycache__", ".lanemesh"))


def run(block: Block, command: str, folder: Path, given: Mapping[str, str] = MappingProxyType({})) -> Result:
    """Runs a command of a block in a folder with the examples, for at most `SECONDS`. A block that shows output has one command.
    `given` are the variables of the example."""
    program = block.info.removeprefix("sh").strip().removeprefix("needs").strip()
    if program and shutil.which(program) is None:
        return Result(
            State.LEFT_OUT, reason=f"It needs {program}, which is not on the PATH: `apt-get install {program}`."
        )
    environment = {**os.environ, **given, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "COLUMNS": "100"}
    began = time.monotonic()
    try:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Result(State.FAILED, SECONDS, reason=f"It had not ended after {SECONDS:.0f} s.")
    reason = _wrong(block, command, done, folder)
    return Result(State.FAILED if reason else State.PASSED, time.monotonic() - began, done.stdout, reason)


def _wrong(block: Block, command: str, done: subprocess.CompletedProcess[str], folder: Path) -> str:
    if done.returncode:
        return f"It ended with {done.returncode}:\n{done.stderr.strip()}"
    missing = [
        name for name in _written(command) if not (folder / name).is_file() or not (folder / name).stat().st_size
    ]
    if missing:
        return f"It wrote nothing into {', '.join(missing)}."
    if block.shown is not None:
        return differs(block.shown, done.stdout)
    return ""


def _written(command: str) -> list[str]:
    return re.findall(r"--output \w+=([^\s-]\S*)", command)


def main(names: Sequence[str], folder: Path = ROOT / "build" / "demo") -> int:
    """Runs the examples of these names, or all of the catalogue, and prints the table. Returns the exit code."""
    unknown = sorted(set(names) - set(CATALOGUE))
    if unknown:
        print(
            f"There is no example {', '.join(unknown)} in the catalogue. Choose from: {', '.join(CATALOGUE)}.",
            file=sys.stderr,
        )
        return 2
    found = example_blocks()
    chosen = {name: found[name] for name in CATALOGUE if not names or name in names}
    results: dict[tuple[str, Where], list[Result]] = {}
    with variables(with_database=not WITH_DATABASE.isdisjoint(chosen)) as (given, no_database):
        for where in Where:
            clone(folder / where)
            for name, its_blocks in chosen.items():
                lacks = no_database if name in WITH_DATABASE else no_environment(name)
                results[name, where] = [
                    _shown(one, command, where, folder, given, lacks) for one in its_blocks for command in commands(one)
                ]
    print(_table(chosen, results))
    print(f"\nWhat they wrote is in {_short(folder)}.")
    return int(any(result.state is State.FAILED for group in results.values() for result in group))


def no_environment(name: str) -> str:
    """Why an example cannot run, whose service has a Python environment of its own that has not been made; else empty."""
    if name not in WITH_ENVIRONMENT:
        return ""
    try:
        interpreter_of(WITH_ENVIRONMENT[name])
    except LanemeshError as error:
        return f"{error.fault.message}."
    return ""


def _shown(block: Block, command: str, where: Where, folder: Path, given: Mapping[str, str], lacks: str) -> Result:
    command = located(command, where)
    print(f"$ {command}", flush=True)
    result = Result(State.LEFT_OUT, reason=lacks) if lacks else run(block, command, folder / where, given)
    if result.state is State.PASSED:
        lines = result.printed.splitlines()
        more = [f"... {len(lines) - LINES} more lines"] if len(lines) > LINES else []
        for line in [*lines[:LINES], *more]:
            print(f"    {line if len(line) <= WIDTH else line[: WIDTH - 4] + ' ...'}")
        for name in _written(command):
            print(f"    {_short(folder / where / name)}: {(folder / where / name).stat().st_size / 1000:,.0f} kB")
    print(f"{result.state}{f' in {result.seconds:.0f} s' if result.seconds else ''}", result.reason, "\n", flush=True)
    return result


def _short(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _table(names: Iterable[str], results: dict[tuple[str, Where], list[Result]]) -> str:
    head = f"{'example':16}" + "".join(f"{where:18}" for where in Where)
    rows = [f"{name:16}" + "".join(f"{_cell(results[name, where]):18}" for where in Where) for name in names]
    return "\n".join(line.rstrip() for line in [head, *rows])


def _cell(group: Sequence[Result]) -> str:
    states = {result.state for result in group}
    state = next(state for state in (State.FAILED, State.PASSED, State.LEFT_OUT) if state in states)
    return f"{state} ({sum(result.seconds for result in group):.0f} s)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
