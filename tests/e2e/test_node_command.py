"""`lanemesh node`: it hands over to `python -m lanemesh.server`, under the same process id, with the same errors."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from rigs import commands

TIMEOUT = 30


def node(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end: nothing listens where it would join."""
    return commands.run("node", "--orchestrator", "127.0.0.1:1", *arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nosuch"], 2, 'there is no service "nosuch"'),
        ([], 2, "Nothing to serve"),
        (["text", "--advertise", "here"], 2, "host:port"),
        (["text", "--host", "0.0.0.0"], 1, "--insecure"),
        (["text", "--name", "orchestrator"], 2, "Choose another name"),
        (["text", "--name", "a\nb"], 2, "printable characters"),
        (["text", "--reload"], 2, "give --nodes FILE.py too"),
    ],
)
def test_what_cannot_be_served_is_one_paragraph(arguments: Sequence[str], code: int, told: str) -> None:
    done = node(*arguments)

    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = node("text", "--port", str(taken.getsockname()[1]))

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the port is in use" in done.stderr


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in node("nosuch", "--debug").stderr


def test_it_holds_no_command_line_tool_and_minds_no_files_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "ipaddress.py").write_text("raise RuntimeError('not the one of the standard library')\n")
    (tmp_path / "told.py").write_text(
        "import sys\nprint('typer' in sys.modules, 'asyncio' in sys.modules)\nraise SystemExit(7)\n"
    )
    done = subprocess.run(
        [Path(sys.executable).with_name("lanemesh"), "node", "--orchestrator", "127.0.0.1:1", "--nodes", "told.py"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    assert (done.stdout, done.returncode) == ("False True\n", 2), done.stderr
    assert "told.py cannot be loaded: SystemExit: 7" in done.stderr


def test_servers_of_a_spread_run_mind_no_files_of_the_folder_either(tmp_path: Path) -> None:
    (tmp_path / "ipaddress.py").write_text("raise RuntimeError('not the one of the standard library')\n")
    upper = {"id": "up_1", "provider": "upper_case", "input": [{"lane": "text", "from": "chat_1"}]}
    out = {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "up_1"}]}
    (tmp_path / "up.pipe").write_text(json.dumps({"components": [{"id": "chat_1", "provider": "chat"}, upper, out]}))
    done = subprocess.run(
        [Path(sys.executable).with_name("lanemesh"), "run", "up.pipe", "--spread", "--input", "hello"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    assert (done.stdout, done.returncode) == ("HELLO\n", 0), done.stderr
