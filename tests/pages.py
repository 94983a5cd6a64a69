"""Pages of documentation, as readers use them: their blocks are pasted in order, and what they show is compared.

What a fenced block is follows from its first line:

* `sh` is pasted into bash, which has to end with 0; with 2 for `sh exits 2`.
* `sh terminal` is pasted into a terminal of its own, where it goes on until the page has ended.
* `sh needs jq` is pasted where there is a command of this name.
* `sh elsewhere` needs what a test has not, such as a clone of its own. Only the targets of `make` in it are looked up.
* `python` goes on where the page's last block of Python ended.
* `text`, right after one of these, is what it prints, where `...` stands for anything.
* `console`, there, is an example of it: numbers may differ, a line that ends in `...` is what a model may have said, and
  calls of tools that run at the same time may report in another order.

Other blocks are not looked at.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType

from repeats import FULL
from rigs.ports import free_port

ROOT = Path(__file__).parents[1]
"""The folder of the repository."""
SECONDS = 90.0
"""Longest that a block may take, and that a server may take to say what it shows."""
PORTS = ("7070", "8080")
"""The ports that pages name; others are used instead, since these may be in use."""

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"\w+ · \w+")
"""The beginning of a line about a call of a tool: the component, and a word of its progress or the name of the tool."""
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    where: str
    """File and line, for messages."""
    info: str
    """What is said of it after its opening fence, such as "sh terminal"."""
    text: str
    """Its lines."""
    shown: Block | None = None
    """The block of output right after it."""


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are pasted, each with the output that is shown for it."""
    text = page.read_text(encoding="utf-8")
    found: list[tuple[int, Block]] = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        block = Block(f"{page.name}:{line}", match["info"].strip(), match["text"])
        follows = found and not text[found[-1][0] : match.start()].strip()
        if block.info in ("text", "console") and follows:
            before = found[-1][1]
            found[-1] = (match.end(), Block(before.where, before.info, before.text, block))
        elif block.info.split(" ")[0] in ("sh", "python"):
            found.append((match.end(), block))
    return [block for _, block in found]


def differs(shown: Block, printed: str) -> str:
    """What a block of output shows and was not printed; empty if all of it was. Blank lines do not count."""
    wanted, got = _lines(shown.text), _lines(printed)
    if shown.info == "console":
        wanted, got = _sorted_calls(wanted), _sorted_calls(got)
        wanted, got = [_NUMBER.sub("0", line) for line in wanted], [_NUMBER.sub("0", line) for line in got]
        wanted = ["..." if line.endswith(" ...") else line for line in wanted]
    pattern = "\n".join(".+?".join(map(re.escape, line.split("..."))) for line in wanted)
    if re.fullmatch(pattern, "\n".join(got), re.DOTALL):
        return ""
    return f"{shown.where} shows\n\n{shown.text}\nand what was printed is\n\n{printed}"


def _sorted_calls(lines: Iterable[str]) -> list[str]:
    """Calls of tools that run at the same time report in any order: consecutive lines about calls that begin alike are sorted."""
    found: list[str] = []
    for beginning, group in groupby(lines, lambda line: call.group() if (call := _CALL.match(line)) else ""):
        alike = list(group)
        found += sorted(alike) if beginning else alike
    return found


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


class Reader:
    """Someone who pastes the blocks of a page, in a folder with what a clone has after `make demo`."""

    def __init__(self, folder: Path, commands: Path | None = None) -> None:
        """`commands` is a folder of commands that are used in place of those that are installed, unless all is repeated."""
        commands = None if FULL else commands
        self._folder = folder
        self._ports = {named: str(free_port()) for named in PORTS}
        self._servers: list[tuple[subprocess.Popen[bytes], Path]] = []
        self._module = ModuleType("pasted")
        path = [*([str(commands)] if commands else []), f"{sys.prefix}/bin", os.environ["PATH"]]
        if commands is None:
            (folder / ".venv").symlink_to(sys.prefix)
        else:
            activate = folder / ".venv" / "bin" / "activate"
            activate.parent.mkdir(parents=True)
            activate.write_text(f"export PATH={shlex.quote(':'.join(path))}\n")
        self._environment = {**os.environ, "PATH": ":".join(path), "COLUMNS": "100"}

    def paste(self, block: Block) -> None:
        """Pastes a block. Raises AssertionError if it fails or prints something else than the page shows."""
        match block.info.split():
            case ["sh"]:
                self._run(block)
            case ["sh", "exits", code]:
                self._run(block, int(code))
            case ["sh", "needs", command]:
                if shutil.which(command):
                    self._run(block)
            case ["sh", "terminal"]:
                self._start(block)
            case ["sh", "elsewhere"]:
                pass
            case ["python"]:
                self._execute(block)
            case _:
                raise AssertionError(f"{block.where}: `{block.info}` is no kind of block; see tests/pages.py")

    def leave(self) -> None:
        """Ends the servers, the last one first, as Ctrl-C does. Raises AssertionError if one does not end well."""
        while self._servers:
            server, log = self._servers.pop()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGINT)
            try:
                assert server.wait(SECONDS) in (0, 130), log.read_text()
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                raise

    def _run(self, block: Block, code: int = 0) -> None:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", self._own_port(block.text)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
        )
        printed = done.stdout.decode()
        assert done.returncode == code, f"{block.where} ended with {done.returncode}:\n{printed}"
        self._compare(block, printed)

    def _start(self, block: Block) -> None:
        assert block.shown is not None, f"{block.where}: show what it says once it is ready"
        log = self._folder.with_name(f"terminal-{len(self._servers)}.log")
        with log.open("wb") as printed:
            server = subprocess.Popen(
                ["bash", "-e", "-c", self._own_port(block.text)],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._servers.append((server, log))
        until = time.monotonic() + SECONDS
        while (why := differs(block.shown, self._shown_port(log.read_text()))) and server.poll() is None:
            assert time.monotonic() < until, why
            time.sleep(0.05)
        assert not why, why

    def _execute(self, block: Block) -> None:
        printed = io.StringIO()
        code = compile(self._own_port(block.text), block.where, "exec")
        with contextlib.redirect_stdout(printed), contextlib.chdir(self._folder), self._imported():
            exec(code, self._module.__dict__)
        self._compare(block, printed.getvalue())

    @contextlib.contextmanager
    def _imported(self) -> Iterator[None]:
        """Classes look for their own module among the imported ones."""
        sys.modules[self._module.__name__] = self._module
        try:
            yield
        finally:
            del sys.modules[self._module.__name__]

    def _compare(self, block: Block, printed: str) -> None:
        if block.shown is not None:
            why = differs(block.shown, self._shown_port(printed))
            assert not why, why

    def _own_port(self, text: str) -> str:
        for named, used in self._ports.items():
            text = text.replace(named, used)
        return text

    def _shown_port(self, text: str) -> str:
        for named, used in self._ports.items():
            text = text.replace(used, named)
        return text
