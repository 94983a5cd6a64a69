"""The pytest plugin by which a run that fails says why in its last lines, since records of CI keep little more than those.

With `--failure-tail`, after everything else that pytest prints come the ends of the first failures, within `LINES` lines in all. Of
a test that ran out of time they are what the tasks of its event loop were waiting for.
"""

import asyncio
import gc
from collections.abc import Generator, Sequence

import pytest
from lanemesh._aio.tasks import standing

LINES = 20
"""Most lines in all."""
FAILURES = 3
"""Most failures of which there is more than a name."""
WIDTH = 200
"""Longest line."""
TASKS = "tasks at the timeout"
"""Name of the report section with what tasks were waiting for."""


class FailureTail:
    """Collects the failures of one pytest run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._failures: list[tuple[str, str]] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.excinfo is not None and "from pytest-timeout" in str(call.excinfo.value):
            report.sections.append((TASKS, "\n".join(waiting_tasks())))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            where = "" if report.when == "call" else f" ({report.when})"
            told = dict(report.sections).get(TASKS) or report.longreprtext
            self._failures.append((f"{report.nodeid}{where}", told))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._failures.append((f"{report.nodeid} (collect)", report.longreprtext))

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # the outermost: what it prints comes after the summary
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        result = yield
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if self._failures and terminal is not None and self._config.getoption("failure_tail"):
            terminal.ensure_newline()
            for line in failure_tail(self._failures):
                terminal.write_line(line)
        return result


def failure_tail(failures: Sequence[tuple[str, str]]) -> list[str]:
    """The ends of the first failures, each a name and a text, and how many there are more."""
    shown = failures[:FAILURES]
    each = (LINES - 1) // len(shown)
    lines: list[str] = []
    for name, told in shown:
        text = [line[:WIDTH] for line in told.splitlines() if line.strip()]
        lines += [f"FAILED {name}", *text[-(each - 1) :]]
    more = len(failures) - len(shown)
    return [*lines, f"and {more} more"] if more else lines


def waiting_tasks() -> list[str]:
    """What every asyncio task of this process waits for, whatever its event loop; those of tests last, servers' own left out."""
    gc.unfreeze()  # frozen objects are left out else
    lines = {standing(thing) for thing in gc.get_objects() if isinstance(thing, asyncio.Task) and not thing.done()}
    return sorted((line for line in lines if ".pyx.pxi" not in line), key=lambda line: ("(test_" in line, line))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--failure-tail", action="store_true", help="end a failing run with the ends of its first failures"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(FailureTail(config), "last-words")
