"""What a forked process of `workers` does: it runs the tests whose numbers it gets, and sends what pytest reports of each."""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from _pytest.capture import EncodedFile
from _pytest.config import create_terminal_writer


@dataclass
class Outcome:
    """What pytest reports of one test."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    """Reports as `pytest_report_to_serializable` returns them."""
    warnings: list[tuple[warnings.WarningMessage, str]] = field(default_factory=list)
    """Warnings, and when each was given."""


class WorkerProcess:
    """A process of its own, with the session that it was forked with."""

    def __init__(
        self, session: pytest.Session, kind: Sequence[pytest.Item], items: Sequence[pytest.Item], connection: Connection
    ) -> None:
        """`kind` are the tests of its kind, of which it runs some, and `items` all, by number."""
        self._session = session
        self._config = session.config
        self._items = items
        self._connection = connection
        self._outcome = Outcome()
        session.items = list(kind)

    def main(self) -> NoReturn:
        """Runs tests until None comes or the other process has gone, and ends this process."""
        code = 1
        try:
            atexit._clear()  # the functions are those of the process that forked this one
            self._prepare()
            self._run()
            code = 0
        except (EOFError, BrokenPipeError, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is ending
        except BaseException:
            traceback.print_exc()
        try:
            self._session._setupstate.teardown_exact(None)  # does nothing after the last test
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        finally:
            os._exit(code)

    def _prepare(self) -> None:
        """Separates what pytest keeps for one process: captured output, the terminal and the folder of temporary files."""
        plugins = self._config.pluginmanager
        _separate(plugins.get_plugin("capturemanager"))
        plugins.unregister(name="terminalreporter")
        # pytest-timeout writes the stacks of threads to it.
        terminal = SimpleNamespace(_tw=create_terminal_writer(self._config, sys.__stderr__))
        plugins.register(terminal, "terminalreporter")
        plugins.register(self)
        self._outcome = Outcome()  # without the warnings that were recorded before the fork
        folders = self._config._tmp_path_factory  # type: ignore[attr-defined]
        folders._basetemp = folders.getbasetemp() / f"worker-{os.getpid()}"
        folders._basetemp.mkdir(mode=0o700)

    def _run(self) -> None:
        test = self._connection.recv()
        while test is not None:
            following = self._connection.recv()
            item, nextitem = self._items[test], None if following is None else self._items[following]
            item.ihook.pytest_runtest_protocol(item=item, nextitem=nextitem)
            self._connection.send(self._outcome)
            self._outcome = Outcome()
            test = following

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._outcome.reports.append(
            self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        )

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, when: str) -> None:
        message = warning_message.message
        category = warning_message.category
        try:
            pickle.loads(pickle.dumps(message))
        except Exception:  # whatever its class does
            message, category = f"{category.__name__}: {message}", pytest.PytestWarning
        kept = warnings.WarningMessage(message, category, warning_message.filename, warning_message.lineno)
        self._outcome.warnings.append((kept, when))


def _separate(capture: Any) -> None:
    """Captures output in files of this process. The streams stay the same objects, since modules that were imported may have kept
    them, as defaults of parameters for instance."""
    capturing = getattr(capture, "_global_capturing", None)
    for stream in (getattr(capturing, "out", None), getattr(capturing, "err", None)):
        captured = getattr(stream, "tmpfile", None)
        if isinstance(captured, EncodedFile):  # otherwise it is in memory
            with tempfile.TemporaryFile() as file:
                os.dup2(file.fileno(), captured.fileno(), inheritable=False)
