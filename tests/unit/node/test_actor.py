"""The actor beyond firing: bodies of both sorts, cancellation, finalize, logging."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest
from lanemesh import Context, In, Inputs, LanemeshError, Node, Out, Outputs
from lanemesh.node.runtime.actor import State
from lanemesh.testing import run_node, run_node_async


class Sync(Node):
    """A synchronous body."""

    n: In[int]
    where: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"where": threading.current_thread().name}


class Async(Node):
    """An asynchronous body."""

    n: In[int]
    where: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"where": threading.current_thread().name}


class SyncGenerator(Node):
    """A synchronous generator."""

    n: In[int]
    where: Out[str]

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        for _ in range(self.n):
            yield "where", threading.current_thread().name


def test_synchronous_bodies_run_in_worker_threads_and_asynchronous_ones_in_the_loop() -> None:
    loop = threading.current_thread().name
    assert run_node(Async, n=1).where == [loop]
    for node in (Sync, SyncGenerator):
        (name,) = run_node(node, n=1).where
        assert name.startswith("lanemesh-body")


def test_process_may_return_nothing() -> None:
    class Silent(Node):
        n: In[int]
        even: Out[int]

        def process(self, context: Context) -> dict[str, Any] | None:
            return {"even": self.n} if self.n % 2 == 0 else None

    assert run_node(Silent, n=range(5)).even == [0, 2, 4]


class Untidy(Node):
    """Fails twice."""

    finalized: ClassVar[list[str]] = []

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        raise ValueError("first")

    async def finalize(self, context: Context) -> None:
        self.finalized.append(context.component)
        raise OSError("second")


def test_the_first_error_is_the_nodes_and_finalize_runs() -> None:
    Untidy.finalized.clear()
    with pytest.raises(ValueError, match="first"):
        run_node(Untidy, component="u")
    assert Untidy.finalized == ["u"]


def test_a_finalize_that_hangs_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh.node.runtime.actor.FINALIZE_SECONDS", 0.02)

    class Hangs(Node):
        word: Out[str]

        def process(self, context: Context) -> dict[str, Any]:
            return {"word": "done"}

        async def finalize(self, context: Context) -> None:
            await asyncio.Event().wait()

    with pytest.raises(LanemeshError, match=r"hangs_1: finalize took longer than 0\.02 s"):
        run_node(Hangs)


class Busy(Node):
    """Looks whether it shall stop."""

    begun: ClassVar = threading.Event()
    stopped: ClassVar = threading.Event()
    word: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        self.begun.set()
        while not context.cancelled:
            threading.Event().wait(0.001)
        self.stopped.set()
        return {"word": "too late"}


async def test_a_synchronous_body_sees_that_it_is_cancelled() -> None:
    task = asyncio.create_task(run_node_async(Busy))
    await asyncio.to_thread(Busy.begun.wait, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(Busy.stopped.wait, 2)


async def test_a_body_that_swallows_its_cancellation_is_cancelled_all_the_same() -> None:
    begun = asyncio.Event()

    class Swallows(Node):
        word: Out[str]

        async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
            try:
                begun.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                yield "word", "never mind"

    task = asyncio.create_task(run_node_async(Swallows))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_context_log_is_a_logger_that_names_the_component(caplog: pytest.LogCaptureFixture) -> None:
    class Logs(Node):
        async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
            context.log.info("at %d of %s", 1, "n")

    with caplog.at_level(logging.INFO, "lanemesh.node.logs"):
        assert run_node(Logs).state is State.COMPLETED
    (record,) = caplog.records
    assert (record.getMessage(), record.name, record.funcName) == ("at 1 of n", "lanemesh.node.logs", "run")
    assert record.__dict__["component"] == "logs_1"


async def test_log_lines_reach_the_clients_from_any_thread_and_level() -> None:
    told: list[tuple[int, str]] = []

    def on_log(level: int, line: str) -> None:
        told.append((level, line))

    context = Context(run_id="r", component="c", provider="quiet", report=_unheard, on_log=on_log)
    context.log.debug("not shown")
    context.log.info("100%")
    context.log.warning("%(a)s", {"a": 1})
    await asyncio.to_thread(context.log.error, "from a thread")
    context.log.info("wrong %d", "x")
    try:
        raise ValueError("no")
    except ValueError:
        context.log.exception("failed")
    await asyncio.sleep(0)
    lines = {line.split("\n")[0]: level for level, line in told}
    wrong = "wrong %d 'x' (this log line cannot be formatted: TypeError: %d format: a real number is required, not str)"
    assert lines == {"100%": 20, "1": 30, "from a thread": 40, wrong: 20, "failed": 40}
    assert told[-1][1].endswith("ValueError: no") or told[-2][1].endswith("ValueError: no")


async def _unheard(_: object) -> None:
    """Takes a report."""
