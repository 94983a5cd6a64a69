"""The pytest plugin by which one call of pytest runs its tests in several processes: `--workers N`.

The tests are collected once, and then each worker is forked. So no worker imports and collects for itself, which takes longer than
thousands of the tests, and workers share the memory of what was collected. There are N workers for most tests. Beside them, one
runs those marked `apart`: they measure memory, which no other test has used there before. Another one runs those marked `waits`:
they wait for seconds and hardly compute, and would keep a worker from other tests. At last, one runs those marked `timing`, one at
a time: they measure time, or another test beside them would disturb them.

With `--workers 0` this process runs all tests itself, those marked `apart` first and those marked `timing` last. Without the option
the plugin does nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

import pytest

from worker_process import Outcome, WorkerProcess

ENDING = 30.0
"""Longest that a worker may take to end after its last test, in seconds; it is killed then."""
AHEAD = 3
"""How many tests a worker has: the one that it runs, the one that follows, which decides what fixtures end between them, and one
more, so that it does not wait between two short ones."""


class Kind(IntEnum):
    """The kinds of tests, which have workers of their own, in the order in which one process runs them."""

    APART = 0
    MOST = 1
    WAITS = 2
    TIMING = 3


def kind_of(item: pytest.Item) -> Kind:
    """The kind of a test, by its marks."""
    marked = (kind for kind in (Kind.TIMING, Kind.APART, Kind.WAITS) if item.get_closest_marker(kind.name.lower()))
    return next(marked, Kind.MOST)


class Queue:
    """Tests for several workers. Each has a row of successive tests, since those share fixtures. A worker whose row is empty gets
    the second half of the longest row."""

    def __init__(self, tests: Sequence[int], workers: int) -> None:
        bounds = [len(tests) * number // workers for number in range(workers + 1)]
        self._rows = [deque(tests[start:end]) for start, end in pairwise(bounds)]

    def next(self, worker: int) -> int | None:
        """The next test of a worker, or None if no tests are left."""
        row = self._rows[worker]
        if not row:
            longest = max(self._rows, key=len)
            row.extendleft([longest.pop() for _ in range((len(longest) + 1) // 2)])
        return row.popleft() if row else None

    def put_back(self, worker: int, tests: Sequence[int]) -> None:
        """Puts tests that a worker got and did not run back at the front of its row."""
        self._rows[worker].extendleft(reversed(tests))


class Worker:
    """A process that runs tests, as the process that forked it sees it."""

    def __init__(self, process: int, connection: Connection, tests: Sequence[int], queue: Queue, number: int) -> None:
        self.process = process
        self.connection = connection
        self.tests = tests
        """All tests of its kind."""
        self.queue = queue
        self.number = number
        """Its number in the queue."""
        self.assigned: deque[int | None] = deque()
        """The tests that it has and has not run: the first one runs. None at the end: it gets no more."""
        self.reported = time.monotonic()
        """When it reported a test last, or started."""

    def assign(self) -> None:
        """Sends it the next test, or None if it is to end after those that it has."""
        if None not in self.assigned:
            test = self.queue.next(self.number)
            self.assigned.append(test)
            with contextlib.suppress(OSError):  # it has ended, which is seen when its messages are read
                self.connection.send(test)

    def end(self) -> int:
        """Waits for its end, and kills it after `ENDING`. Returns its exit code: minus the signal that ended it, if one did."""
        with contextlib.suppress(EOFError, OSError):
            while self.connection.poll(ENDING):
                self.connection.recv()
            os.kill(self.process, signal.SIGKILL)
        self.connection.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


class Workers:
    """Runs the tests of a session in workers, and reports what they report."""

    def __init__(self, session: pytest.Session, number: int) -> None:
        """`number` is how many workers run most tests."""
        self._session = session
        self._config = session.config
        self._hook = session.config.hook
        self._items = list(session.items)
        self._number = number
        self._limit: float = session.config.getoption("worker_limit")
        self._running: list[Worker] = []

    def run(self) -> None:
        """Runs all tests. Raises as the loop of pytest does if the session is to stop."""
        tests: dict[Kind, list[int]] = {kind: [] for kind in Kind}
        for number, item in enumerate(self._items):
            tests[kind_of(item)].append(number)
        self._config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # the folder of which workers have a part each
        try:
            self._start(tests[Kind.APART], 1)
            self._start(tests[Kind.WAITS], 1)
            self._start(tests[Kind.MOST], self._number)
            self._watch()
            self._start(tests[Kind.TIMING], 1)
            self._watch()
        finally:
            for worker in self._running:
                os.kill(worker.process, signal.SIGINT)
            for worker in self._running:
                worker.end()

    def _start(self, tests: Sequence[int], workers: int) -> None:
        workers = min(workers, len(tests))
        if workers:
            queue = Queue(tests, workers)
            started = [self._fork(tests, queue, number) for number in range(workers)]
            for _ in range(AHEAD):
                for worker in started:
                    worker.assign()

    def _fork(self, tests: Sequence[int], queue: Queue, number: int) -> Worker:
        ours, theirs = Pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        process = os.fork()
        if not process:
            for other in (ours, *(worker.connection for worker in self._running)):
                other.close()
            WorkerProcess(self._session, [self._items[test] for test in tests], self._items, theirs).main()
        theirs.close()
        worker = Worker(process, ours, tests, queue, number)
        self._running.append(worker)
        return worker

    def _watch(self) -> None:
        """Reports what the workers report until they have ended. Raises as the loop of pytest does if the session is to stop."""
        while self._running:
            first = min(worker.reported for worker in self._running)
            ready = wait(
                [worker.connection for worker in self._running], max(0.0, first + self._limit - time.monotonic())
            )
            for worker in [worker for worker in self._running if time.monotonic() > worker.reported + self._limit]:
                if worker.connection not in ready:
                    os.kill(worker.process, signal.SIGKILL)
                    self._end(worker)
            for worker in [worker for worker in self._running if worker.connection in ready]:
                try:
                    outcome: Outcome = worker.connection.recv()
                except (EOFError, OSError):
                    self._end(worker)
                else:
                    self._report(worker, outcome)
                if self._session.shouldfail:
                    raise self._session.Failed(self._session.shouldfail)
                if self._session.shouldstop:
                    raise self._session.Interrupted(self._session.shouldstop)

    def _report(self, worker: Worker, outcome: Outcome) -> None:
        test = worker.assigned.popleft()
        assert test is not None
        item = self._items[test]
        worker.reported = time.monotonic()
        worker.assign()
        for warning, when in outcome.warnings:
            self._hook.pytest_warning_recorded.call_historic(
                kwargs={"warning_message": warning, "when": when, "nodeid": item.nodeid, "location": None}
            )
        for data in outcome.reports:
            report = self._hook.pytest_report_from_serializable(config=self._config, data=data)
            self._hook.pytest_runtest_logreport(report=report)
        self._hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _end(self, worker: Worker) -> None:
        """Removes a worker that has ended. If it has tests left, the first one fails, and a new worker runs the others."""
        self._running.remove(worker)
        code = worker.end()
        left = [test for test in worker.assigned if test is not None]
        if not left:
            return
        item = self._items[left[0]]
        report = pytest.TestReport(
            item.nodeid,
            item.location,
            dict.fromkeys(item.keywords, 1),
            "failed",
            f"the process of this test ended with exit code {code}; its last lines are on standard error",
            "call",
            user_properties=item.user_properties,
        )
        self._hook.pytest_runtest_logreport(report=report)
        self._hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        worker.queue.put_back(worker.number, left[1:])
        another = self._fork(worker.tests, worker.queue, worker.number)
        for _ in range(AHEAD):
            another.assign()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--workers", type=int, metavar="N", help="run the tests in N processes that are forked after the collection"
    )
    parser.addoption(
        "--worker-limit",
        type=float,
        default=400.0,
        metavar="SECONDS",
        help="kill a worker, and fail its test, if it reports no test for so long, which is longer than the timeout of a test",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Runs the tests in workers; None if pytest is to run them."""
    number: int | None = session.config.getoption("workers")
    if number is not None:
        session.items.sort(key=kind_of)
    if not number or session.testsfailed or session.config.getoption("collectonly"):
        return None
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.showfspath = False  # tests of several files come in turn
    Workers(session, number).run()
    return True
