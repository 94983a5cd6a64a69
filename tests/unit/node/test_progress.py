"""`context.progress`: the latest, at most ten times a second, the last always; from bodies of both kinds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from lanemesh import Context, In, Node, Out, ProgressUpdate
from lanemesh.node import progress as module
from lanemesh.node.progress import Progress
from lanemesh.testing import run_node, run_node_async
from lanemesh.v1 import update_pb2


class Heard:
    """A receiver of reports, with or without capacity."""

    def __init__(self) -> None:
        self.done: list[float] = []
        self.at: list[float] = []
        self.has_capacity = True
        self.again = asyncio.Event()

    def __call__(self, update: update_pb2.Update) -> bool:
        if self.has_capacity:
            self.done.append(update.progress.done)
            self.at.append(asyncio.get_running_loop().time())
        self.again.set()
        return self.has_capacity

    async def next(self) -> None:
        self.again.clear()
        async with asyncio.timeout(5):
            await self.again.wait()


async def test_the_first_is_reported_at_once_and_then_the_latest() -> None:
    heard = Heard()
    progress = Progress("c", heard)
    for done in range(1_000):
        progress.report(done, 1_000, "counting")
    assert heard.done == [0]
    await heard.next()
    assert heard.done == [0, 999]
    assert heard.at[1] - heard.at[0] >= module.PROGRESS_SECONDS
    assert progress.end() is None  # everything is reported


async def test_the_last_is_reported_at_the_end_and_nothing_after_it() -> None:
    heard = Heard()
    progress = Progress("c", heard)
    progress.report(1, 2, "")
    progress.report(2, 2, "almost")
    last = progress.end()
    assert last is not None
    assert (last.progress.component, last.progress.done, last.progress.total) == ("c", 2, 2)
    assert last.progress.message == "almost"
    progress.report(3, 2, "late")
    await asyncio.sleep(1.5 * module.PROGRESS_SECONDS)  # there is no event for the absence of a report
    assert heard.done == [1]


async def test_a_slow_receiver_gets_the_latest_when_it_has_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_SECONDS", 0.01)
    heard = Heard()
    heard.has_capacity = False
    progress = Progress("c", heard)
    progress.report(1, 0, "")
    progress.report(2, 0, "")
    await heard.next()
    heard.has_capacity = True
    await heard.next()
    assert heard.done == [2]


async def test_a_thread_may_report_at_any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    progress = Progress("c", heard)
    loop = asyncio.get_running_loop()
    scheduled: list[Callable[..., Any]] = []
    schedule = loop.call_soon_threadsafe

    def noted(call: Callable[..., Any], *arguments: Any) -> asyncio.Handle:
        scheduled.append(call)
        return schedule(call, *arguments)

    def report_all() -> None:
        for done in range(50_000):
            progress.report(done, 0, "")

    monkeypatch.setattr(loop, "call_soon_threadsafe", noted)
    thread = threading.Thread(target=report_all)
    thread.start()
    await heard.next()
    thread.join()
    last = progress.end()
    assert heard.done[-1:] == [49_999] or (last is not None and last.progress.done == 49_999)
    assert len(scheduled) <= len(heard.done) + 1  # the loop is not flooded


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
async def test_a_number_that_is_not_finite_is_refused(number: float) -> None:
    progress = Progress("c")
    with pytest.raises(ValueError, match="both must be finite numbers"):
        progress.report(number, 1, "")
    with pytest.raises(ValueError, match="both must be finite numbers"):
        progress.report(1, number, "")


class Steps(Node):
    """Reports each step from a synchronous body."""

    count: In[int]
    done: Out[int]

    def process(self, context: Context) -> dict[str, Any]:
        for step in range(1, self.count + 1):
            context.progress(step, self.count, f"step {step}")
        return {"done": self.count}


class AwaitedSteps(Steps):
    """The same, asynchronous."""

    async def process(self, context: Context) -> dict[str, Any]:  # type: ignore[override]
        for step in range(1, self.count + 1):
            await context.progress(step, self.count, f"step {step}")
        return {"done": self.count}


@pytest.mark.parametrize("kind", [Steps, AwaitedSteps])
async def test_bodies_of_both_kinds_report_and_the_last_report_arrives(kind: type[Node]) -> None:
    result = await run_node_async(kind, count=500)
    told = [update for update in result.updates if isinstance(update, ProgressUpdate)]
    assert 1 <= len(told) <= 10
    assert (told[-1].done, told[-1].total, told[-1].message) == (500, 500, "step 500")
    assert told[-1].component == f"{kind.provider}_1"


def test_a_number_that_is_not_finite_fails_its_node() -> None:
    class Wrong(Node):
        """Divides by nothing."""

        count: In[int]
        done: Out[int]

        def process(self, context: Context) -> None:
            context.progress(float("nan"))

    with pytest.raises(ValueError, match="finite"):
        run_node(Wrong, count=1)
