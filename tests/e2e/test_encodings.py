"""Bytes that are not UTF-8, byte order marks, odd encodings, no home folder and read-only history, as the command meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from rigs.commands import TIMEOUT, Command

COMMAND = [sys.executable, "-m", "lanemesh_orchestrator.cli"]
BAD = b"caf\xe9"
MARK = b"\xef\xbb\xbf"
ECHO = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "chat_1"}]},
    ]
}
TEXT = "é→😀"


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """A pipeline that answers with its input."""
    file = tmp_path / "echo.pipe"
    file.write_text(json.dumps(ECHO))
    return file


def lanemesh(
    *arguments: object,
    feed: bytes | None = None,
    env: Mapping[str, str | bytes] | None = None,
    without: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Runs the command."""
    variables = {key: value for key, value in os.environ.items() if key not in without}
    variables |= {key: os.fsdecode(value) for key, value in (env or {}).items()}
    words = [os.fsdecode(part) if isinstance(part, bytes) else str(part) for part in arguments]
    with TemporaryFile() as fed, TemporaryFile() as output, TemporaryFile() as errors:
        fed.write(feed or b"")
        fed.seek(0)
        process = Command(
            *words, environment=variables, stdin=fed.fileno(), stdout=output.fileno(), stderr=errors.fileno()
        )
        code = process.wait(TIMEOUT)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(words, code, output.read(), errors.read())


def is_one_paragraph(done: subprocess.CompletedProcess[bytes], *words: str) -> bool:
    """The command ended as for wrong usage, and its error names these."""
    text = done.stderr.decode()
    return done.returncode == 2 and "Traceback" not in text and "bug in" not in text and all(w in text for w in words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", BAD], ["--input", "caf\\xe9", "UTF-8"]),
        (["--input", "x", "--set", b"chat_1.x=" + BAD], ["--set", "UTF-8"]),
        (["--input", "x", "--set", 'chat_1.x="\\ud800"'], ["--set", "UTF-8"]),
        (["--input", "x", "--mesh", BAD + b":1"], ["--mesh", "UTF-8"]),
    ],
)
def test_an_argument_that_is_not_utf8_is_refused_by_its_name(
    echo: Path, arguments: list[object], words: list[str]
) -> None:
    assert is_one_paragraph(lanemesh("run", echo, *arguments), *words)


def test_input_that_is_not_utf8_is_refused_by_its_place(echo: Path) -> None:
    assert is_one_paragraph(lanemesh("run", echo, feed=BAD), "standard input", "UTF-8")
    assert is_one_paragraph(lanemesh("run", echo, "--lines", feed=b"fine\n" + BAD), "line 2", "UTF-8")
    chat = lanemesh("chat", echo, feed=b"hello\n" + BAD + b"\nagain\n")
    assert chat.stdout == b"hello\n"
    assert is_one_paragraph(chat, "standard input, line 2", "UTF-8")


def test_a_variable_that_is_not_utf8_is_a_fault_of_the_pipeline(echo: Path) -> None:
    document = json.loads(echo.read_text())
    document["components"][1]["config"] = {"lane": "${ODD}"}
    echo.write_text(json.dumps(document))
    assert is_one_paragraph(lanemesh("run", echo, "--input", "x", env={"ODD": BAD}), "ODD", "UTF-8", "/lane")


def test_a_name_that_is_not_utf8_is_refused_by_deploy_before_it_asks(echo: Path) -> None:
    done = lanemesh("deploy", echo, "--name", BAD, "--mesh", "127.0.0.1:1")
    assert is_one_paragraph(done, "--name", "UTF-8")


def test_a_path_may_be_any_bytes(echo: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/" + BAD
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/p.pipe")).write_bytes(echo.read_bytes())
    done = lanemesh("run", folder + b"/p.pipe", "--input", "x", "--output", b"out_1=" + folder + b"/out.txt")
    assert done.returncode == 0
    assert Path(os.fsdecode(folder + b"/out.txt")).read_text().strip() == "x"


@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
def test_what_goes_to_a_pipe_is_utf8_in_any_encoding(echo: Path, encoding: str) -> None:
    env = {"PYTHONIOENCODING": encoding}
    assert lanemesh("run", echo, "--input", TEXT, env=env).stdout.decode() == f"{TEXT}\n"
    updates = lanemesh("run", echo, "--input", TEXT, "--json", env=env).stdout.decode().splitlines()
    assert [update["value"] for update in map(json.loads, updates) if update["update"] == "output"] == [TEXT]
    nodes = lanemesh("nodes", "--json", env=env).stdout.decode()
    assert "chat" in {node["provider"] for node in json.loads(nodes)}


def test_arguments_and_variables_are_utf8_in_the_c_locale(echo: Path) -> None:
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([*COMMAND, "run", str(echo), "--input", TEXT], capture_output=True, check=False, env=env)
    assert (done.returncode, done.stdout.decode()) == (0, f"{TEXT}\n")


def test_a_byte_order_mark_and_carriage_returns_are_left_out(echo: Path, tmp_path: Path) -> None:
    file = tmp_path / "marked.txt"
    file.write_bytes(MARK + b"one\r\ntwo\r")
    assert lanemesh("run", echo, feed=MARK + b"hello").stdout == b"hello\n"
    assert lanemesh("run", echo, "--lines", "--file", file).stdout == b"one\ntwo\n"
    assert lanemesh("chat", echo, feed=MARK + b"hello\r\n").stdout == b"hello\n"
    assert lanemesh("run", echo, feed=b"a" + MARK + b"b").stdout.decode() == "a\ufeffb\n"


def test_a_relative_state_folder_without_a_home_is_refused_with_what_to_set(tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": "state", "HOME": "relative"}
    done = lanemesh("serve", "--port", "0", env=env, without=("LANEMESH_STORE",))
    assert done.returncode != 0
    assert all(word in done.stderr.decode() for word in ("--store", "XDG_STATE_HOME", "HOME"))


def test_a_history_in_a_folder_that_cannot_be_written_is_shown(echo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "history"
    store = folder / "runs.sqlite"
    folder.mkdir()
    lanemesh("run", echo, "--store", store, "--input", "two")
    before = sorted(path.name for path in folder.iterdir())
    store.chmod(0o444)
    folder.chmod(0o555)
    try:
        assert lanemesh("show", "last", "--store", store, "--outputs").stdout == b"two\n"
        assert b"completed" in lanemesh("runs", "--store", store).stdout
    finally:
        folder.chmod(0o755)
    # SQLite itself makes these two where the folder can be written after all, as root can write any.
    own = {f"{store.name}-wal", f"{store.name}-shm"}
    assert sorted({path.name for path in folder.iterdir()} - own) == before


def test_a_full_disk_is_an_error_and_a_closed_reader_is_none(echo: Path) -> None:
    with open("/dev/full", "wb") as full:
        for arguments in (["run", echo, "--input", "x"], ["nodes"]):
            done = subprocess.run(
                [*COMMAND, *map(str, arguments)], stdout=full, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
            )
            assert done.returncode == 1
            assert b"No space left" in done.stderr
            assert b"Traceback" not in done.stderr
            assert b"Exception ignored" not in done.stderr
