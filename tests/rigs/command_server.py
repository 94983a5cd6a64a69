"""Forks the processes of `rigs.commands` from one that has imported their modules: python -m rigs.command_server FD PATH.

It serves several processes of tests: the first one over the socket FD, others over connections to the Unix socket PATH. What a
connection has started is killed at its end, and the server ends with the last connection.

A request is one byte with four descriptors on a connection: the standard streams of the process, and a socket of its own. That
one carries a JSON object with the fields of `Request`; the answers are the process id, and the exit code when the process has
ended. A forked process has a connection of its own: the node servers of a spread mesh that it runs are forked too.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import lanemesh_orchestrator
from lanemesh.server.isolation import parent
from lanemesh.server.services import InstalledServices, load_file
from lanemesh_orchestrator.cli import app as lanemesh  # before its name is that of a module, `cli.app`
from lanemesh_orchestrator.scheduling import local_launcher

from rigs import commands
from rigs.forked import ForkedLauncher, forked_body

NODE_FILES = ("run_nodes.py", "recovery_nodes.py", "firing_nodes.py", "grouping_nodes.py", "joining_nodes.py")
"""The node types of most node servers."""
_execv = os.execv
DESCRIPTORS = 4
"""The descriptors of a request: standard input, standard output, standard error, and the socket of the request."""


@dataclass(frozen=True)
class Request:
    """What a forked process is to become."""

    script: str
    module: str
    """The module that it runs as `python -m` does; empty: it runs the command."""
    arguments: list[str]
    folder: str
    environment: dict[str, str]


def main() -> None:
    """Serves requests; in each forked process, runs the command of its request and ends with its exit code."""
    first = socket.socket(fileno=int(sys.argv[1]))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[2])
    listener.listen()
    _import_all()
    gc.freeze()  # the modules stay shared with the forked processes
    first.sendall(b"\0")  # it serves
    request = _serve(first, listener)
    if request is not None:
        _end(_code_of(request))


def _import_all() -> None:
    for module in pkgutil.walk_packages(lanemesh_orchestrator.__path__, "lanemesh_orchestrator."):
        if not module.name.endswith(".__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)
    importlib.import_module("lanemesh_orchestrator.cli.app").command()
    importlib.import_module("lanemesh.server.node_service")
    local_launcher.LocalLauncher = ForkedLauncher  # type: ignore[misc]
    parent._spawn = forked_body
    for _ in InstalledServices().nearest_first(""):
        pass
    for name in NODE_FILES:
        load_file(Path(__file__).with_name(name))


def _serve(first: socket.socket, listener: socket.socket) -> Request | None:
    """None at the end of the last connection; in a forked process, its request. The process then has a connection too, which is
    a part of that by which it was requested."""
    wakeup, waking = socket.socketpair()
    waking.setblocking(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal of the tests
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking.fileno())
    running: dict[int, socket.socket] = {}
    started: dict[int, socket.socket] = {}
    origins = {first: first}
    with selectors.DefaultSelector() as selector:
        for source in (first, wakeup, listener):
            selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wakeup:
                    wakeup.recv(4096)
                    _report_ended(running)
                    continue
                if key.fileobj is listener:
                    accepted, _ = listener.accept()
                    origins[accepted] = accepted
                    selector.register(accepted, selectors.EVENT_READ)
                    with contextlib.suppress(OSError):  # it has gone, and its end can be read
                        accepted.sendall(b"\0")
                    continue
                asking = key.fileobj
                assert isinstance(asking, socket.socket)
                byte, descriptors, *_ = socket.recv_fds(asking, 1, DESCRIPTORS)
                if not byte:
                    selector.unregister(asking)
                    origin = origins.pop(asking)
                    asking.close()
                    if origin is asking:
                        for process in [one for one in running if started[one] is asking]:
                            os.kill(process, signal.SIGKILL)
                        if not any(connection is of for connection, of in origins.items()):
                            return None
                    continue
                own = socket.socket(fileno=descriptors.pop())
                line = own.makefile().readline()
                if not line:  # its process was killed
                    own.close()
                    for descriptor in descriptors:
                        os.close(descriptor)
                    continue
                request = json.loads(line)
                ours, theirs = socket.socketpair()
                process = os.fork()
                if not process:
                    for held in (*origins, ours, wakeup, waking, own, *running.values(), listener):
                        held.close()
                    commands.use(theirs)
                    _take_streams(descriptors, request["environment"])
                    return Request(**request)
                running[process], started[process] = own, origins[asking]
                theirs.close()
                origins[ours] = origins[asking]
                selector.register(ours, selectors.EVENT_READ)
                for descriptor in descriptors:
                    os.close(descriptor)
                _answer(own, process)


def _report_ended(running: dict[int, socket.socket]) -> None:
    """Reports the exit codes of the processes that have ended."""
    for process in list(running):
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            with running.pop(process) as own:
                _answer(own, os.waitstatus_to_exitcode(status))


def _answer(own: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # the test has given up the process
        own.sendall(b"%d\n" % number)


def _take_streams(descriptors: list[int], environment: Mapping[str, str]) -> None:
    """Makes the standard streams of a forked process by its environment, and gives it the signal handlers of a new one."""
    encoding, _, errors = environment.get("PYTHONIOENCODING", "").partition(":")
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old: Any = getattr(sys, name)
        text: dict[str, Any] = {
            "encoding": encoding or old.encoding,
            "errors": errors or ("strict" if encoding else old.errors),
        }
        stream: IO[Any]
        if number and environment.get("PYTHONUNBUFFERED"):
            stream = io.TextIOWrapper(io.FileIO(number, "w", closefd=False), **text, write_through=True)
        else:
            buffering = 1 if number == 2 or os.isatty(number) else -1
            stream = os.fdopen(number, "w" if number else "r", buffering, **text, closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _become(request: Request) -> None:
    """Runs the command as the installed script does, or a module as a leader of a session of its own."""
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = [request.script, *request.arguments]
    sys.path[0] = os.path.dirname(request.script)
    os.execv = _continue_as  # type: ignore[assignment]
    if not request.module:
        lanemesh()
    os.setsid()
    runpy.run_module(request.module, run_name="__main__", alter_sys=True)


def _continue_as(interpreter: str, words: Sequence[str]) -> None:
    """Runs a module in place of this command, as this interpreter does if it replaces the process: INTERPRETER -P -m MODULE ..."""
    if interpreter != sys.executable or tuple(words[1:3]) != ("-P", "-m"):
        _execv(interpreter, list(words))
    sys.argv = [sys.argv[0], *words[4:]]
    runpy.run_module(words[3], run_name="__main__", alter_sys=True)


def _code_of(request: Request) -> int:
    """Runs a request. Returns the exit code that an interpreter gives it."""
    try:
        _become(request)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(code: int) -> None:
    """Ends the process as an interpreter does, but frees no objects: that would copy the memory that it shares."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader has gone, or it is closed
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
