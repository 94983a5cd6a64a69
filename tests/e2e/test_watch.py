"""`lanemesh run --watch` on a terminal, beside pipes, and where there is none."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rigs.commands import Command, run

TIMEOUT = 30
"""Longest that one command may take here, in seconds."""

NODES = '''
import asyncio

from lanemesh import Context, In, Node, Out


class Shout(Node):
    """Upper-cases each text, and says so."""

    text: In[str]
    shouted: Out[str]

    def process(self, context: Context):
        context.log.warning("shouting %s", self.text)
        print("printed by a node")
        return {"shouted": self.text.upper()}


class Tick(Node):
    """Ticks until it is told to stop."""

    text: In[str]
    tick: Out[str]

    async def gen_process(self, context: Context):
        for number in range(1_000_000):
            context.progress(number, 1_000_000, "ticking")
            yield "tick", f"tick {number}"
            await asyncio.sleep(0.01)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with node types and pipelines."""
    (tmp_path / "more.py").write_text(NODES)
    for name in ("shout", "tick"):
        components = [
            {"id": "chat_1", "provider": "chat"},
            {"id": f"{name}_1", "provider": name, "input": [{"lane": "text", "from": "chat_1"}]},
            {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": f"{name}_1"}]},
        ]
        (tmp_path / f"{name}.pipe").write_text(json.dumps({"components": components}))
    return tmp_path


class Terminal:
    """A terminal of 100 columns and 30 lines, and a command that has it for standard error, and for standard output too."""

    def __init__(self, folder: Path, *arguments: str, **streams: Any) -> None:
        self._end, own = pty.openpty()
        fcntl.ioctl(own, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        environment = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
        }
        self.process = Command(
            *("run", "--watch", "--nodes", "more.py", *arguments),
            folder=folder,
            environment={**environment, "TERM": "xterm-256color", "PYTHONUNBUFFERED": "1"},
            **{"stdin": subprocess.DEVNULL, "stdout": own, **streams},
            stderr=own,
        )
        os.close(own)
        self.shown = ""

    def read(self, until: Callable[[str], object] = lambda shown: False) -> str:
        """What is shown, without its escapes, until something holds, or to the end."""
        while not until(self.shown):
            try:
                data = os.read(self._end, 65_536)
            except OSError:  # nobody writes any more
                break
            if not data:
                break
            self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode("utf-8", "replace")).replace("\r", "")
        return self.shown

    def leave(self) -> int:
        """The exit code of the command, after it has shown all."""
        self.read()
        os.close(self._end)
        return self.process.wait(TIMEOUT)


@pytest.mark.parametrize("spread", [(), ("--spread",)], ids=["embedded", "spread"])
def test_the_picture_ends_below_the_outputs(folder: Path, spread: tuple[str, ...]) -> None:
    terminal = Terminal(folder, "shout.pipe", "--input", "hello", *spread)
    assert terminal.leave() == 0
    picture = terminal.shown[terminal.shown.rindex("HELLO") :]
    assert re.search(r"shout\.pipe · completed in [\d.]+ s", picture)
    assert re.search(r"✓ shout_1 +shout +.*1 +chat_1 text +1", picture)
    before = terminal.shown[: terminal.shown.rindex("HELLO")]
    assert "shout_1 warning: shouting hello" in before
    assert terminal.shown.count("shouting hello") == 1
    assert "printed by a node" in before


def test_outputs_go_into_a_pipe_as_they_come_while_the_run_is_drawn(folder: Path) -> None:
    terminal = Terminal(folder, "shout.pipe", "--lines", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert terminal.process.stdin is not None
    assert terminal.process.stdout is not None
    for line in ("one", "two"):
        terminal.process.stdin.write(f"{line}\n")
        terminal.process.stdin.flush()
        assert terminal.process.stdout.readline() == f"{line.upper()}\n"
    terminal.read(lambda shown: "● shout_1" in shown and "TWO" in shown)
    terminal.process.stdin.close()
    assert terminal.leave() == 0
    assert terminal.process.stdout.read() == ""
    assert "completed in" in terminal.shown


def test_ctrl_c_leaves_the_picture_of_a_cancelled_run(folder: Path) -> None:
    terminal = Terminal(folder, "tick.pipe", "--input", "x")
    terminal.read(lambda shown: "ticking" in shown and "tick 20" in shown)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.leave() == 130
    end = terminal.shown[terminal.shown.rindex("tick.pipe") :]
    assert "cancelled after" in end
    assert "⊘ tick_1" in end


def test_where_there_is_no_terminal_outputs_are_plain_and_it_says_why(folder: Path) -> None:
    command = ["run", "shout.pipe", "--nodes", "more.py", "--watch"]
    done = run(*command, "--input", "hello", folder=folder)
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, ["HELLO", "printed by a node"])
    assert done.stderr.startswith("--watch draws nothing here: standard error is not a terminal.\n")

    for other in ("--json", "--quiet"):
        refused = run(*command, other, folder=folder)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr == f"error: --watch and {other} cannot both be given.\n"


def test_a_failed_run_shows_where_it_failed(folder: Path) -> None:
    (folder / "more.py").write_text(NODES.replace("return {", 'raise ValueError("no voice")\n        return {'))
    terminal = Terminal(folder, "shout.pipe", "--input", "hello")
    assert terminal.leave() == 1
    end = terminal.shown[terminal.shown.rindex("shout.pipe · failed") :]
    assert "✗ shout_1" in end
    assert "ValueError: no voice" in end
    assert "error: shout_1 (shout) failed: ValueError: no voice" in end
