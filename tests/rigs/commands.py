"""The command `lanemesh`, and node servers, in processes of their own, which start in a tenth of the time: they are forked from
one that has imported their modules.

A process has its own id, streams, folder, environment and signals, and runs the script that is installed. What a new
interpreter does before that is not tested with it: tests of start-up, of encodings and of the system's signals, the README,
and servers that a command starts use `subprocess`.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO

SCRIPT = Path(sys.executable).with_name("lanemesh")
TIMEOUT = 60.0
"""Longest that a command may take, in seconds, unless a test says otherwise."""
SHARED = "LANEMESH_TESTS_COMMANDS"
"""The variable with the folder of the process that forks, which processes of tests share; `suite.py` sets it."""


class Command:
    """A command that runs: the part of `subprocess.Popen` that tests use, for text in UTF-8."""

    def __init__(
        self,
        *arguments: str,
        module: str = "",
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> None:
        """`module` runs in place of the command, as `python -m` runs it, in a session of its own."""
        self.args = arguments
        self.returncode: int | None = None
        request = {
            "script": str(SCRIPT),
            "module": module,
            "arguments": arguments,
            "folder": str(folder or Path.cwd()),
            "environment": dict(os.environ if environment is None else environment),
        }
        self._own, given = socket.socketpair()
        pairs = [_ends(stdin, 0), _ends(stdout, 1), _ends(stderr, 1)]
        try:
            socket.send_fds(_server(), [b"\0"], [*(theirs for theirs, _ in pairs), given.fileno()])
        finally:
            given.close()
            for theirs, _ in pairs:
                if theirs not in (stdin, stdout, stderr):
                    os.close(theirs)
        opened: list[IO[str] | None] = [
            None if ours is None else os.fdopen(ours, mode) for (_, ours), mode in zip(pairs, "wrr", strict=True)
        ]
        self.stdin, self.stdout, self.stderr = opened
        self._own.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._own.makefile("rb", buffering=0)
        self.pid = self._answer()

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the streams and waits for the end of the process, as `subprocess.Popen` does."""
        self._close_streams()
        self.wait()

    def fileno(self) -> int:
        """The descriptor that can be read when the process has ended."""
        return self._own.fileno()

    @property
    def has_ended(self) -> bool:
        """Whether `wait` returns at once."""
        return self._ended_within(0)

    def poll(self) -> int | None:
        """The exit code, or None while it runs: minus the signal that ended it, if one did."""
        return self.returncode if not self._ended_within(0) else self.wait()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when it has ended. Raises `subprocess.TimeoutExpired` if it has not within some seconds."""
        if self.returncode is None:
            if not self._ended_within(timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.returncode = self._answer()
            self._answers.close()
            self._own.close()
        return self.returncode

    def communicate(self, text: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Writes a text to its standard input, and reads what is left of both outputs. Raises as `wait` does."""
        read = ["", ""]
        readers = [
            threading.Thread(target=_read, args=(stream, read, number), daemon=True)
            for number, stream in enumerate((self.stdout, self.stderr))
            if stream is not None and not stream.closed
        ]
        for reader in readers:
            reader.start()
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                if text:
                    self.stdin.write(text)
                self.stdin.close()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():  # a process that it started holds the stream
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self._close_streams()
        return read[0], read[1]

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended_within(self, seconds: float | None) -> bool:
        return self.returncode is not None or bool(select.select([self._own], [], [], seconds)[0])

    def _answer(self) -> int:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("the process that forks commands has ended; its error is on standard error")
        return int(line)

    def _close_streams(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def run(
    *arguments: str,
    folder: Path | None = None,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, and kills it if it takes too long. Without a text, its standard input is empty."""
    stdin = subprocess.DEVNULL if text is None else subprocess.PIPE
    process = Command(*arguments, folder=folder, environment=environment, stdin=stdin)
    try:
        output, errors = process.communicate(text, timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess([str(SCRIPT), *arguments], process.wait(), output, errors)


def start_server() -> None:
    """Starts the process that forks, unless it runs, and waits until it serves: it imports for seconds, which no time limit of a
    test should contain."""
    _server()


def make_shim(folder: Path) -> None:
    """Writes a command `lanemesh` for shells into a folder, which runs a forked process."""
    start_server()
    program = Path(__file__).with_name("shim.py")
    script = folder / "lanemesh"
    script.write_text(f"#!/bin/sh\nexec '{sys.executable}' -I -S '{program}' '{_socket()}' \"$@\"\n", encoding="utf-8")
    script.chmod(0o755)


def _ends(given: int, end: int) -> tuple[int, int | None]:
    """The descriptor that the process gets for a stream, and ours of a pipe; `end` is which end of a pipe it gets."""
    if given == subprocess.PIPE:
        pipe = os.pipe()
        return pipe[end], pipe[1 - end]
    if given == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    return given, None


def _read(stream: IO[str], read: list[str], number: int) -> None:
    read[number] = stream.read()


_inherited: list[socket.socket] = []
_own_folder: list[str] = []
"""The folder of the process that forks, if this process has made it: no other process of tests uses it then."""


def use(server: socket.socket) -> None:
    """Lets this process, which was forked, start others by a socket of the process that forks."""
    _inherited.append(server)


@cache
def _server() -> socket.socket:
    """Our connection to the process that forks, which ends with the last process that has one."""
    if _inherited:
        return _inherited[-1]
    path = _socket()
    with path.with_name("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = _connected(path)
        if connection is None:
            path.unlink(missing_ok=True)
            connection = _started(path)
    return connection


def _socket() -> Path:
    """The path of the socket at which the process that forks serves. Makes its folder if there is none."""
    if SHARED not in os.environ:
        os.environ[SHARED] = tempfile.mkdtemp()
        _own_folder.append(os.environ[SHARED])
        atexit.register(shutil.rmtree, os.environ[SHARED], ignore_errors=True)
    return Path(os.environ[SHARED]) / "commands"


def _connected(path: Path) -> socket.socket | None:
    """A connection to the process that serves at a path, if one does."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
        if connection.recv(1):
            return connection
    except OSError:
        pass
    connection.close()
    return None


def _started(path: Path) -> socket.socket:
    """Starts the process that forks. Returns our connection to it."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "rigs.command_server", str(theirs.fileno()), str(path)]
    # gRPC reads its variable when it is imported; the command sets it before.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "GRPC_VERBOSITY": "NONE"}
    server = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=environment)
    theirs.close()
    ours.recv(1)

    def end() -> None:
        ours.close()
        if _own_folder:
            server.wait(TIMEOUT)  # otherwise other processes may still use it

    atexit.register(end)
    return ours
