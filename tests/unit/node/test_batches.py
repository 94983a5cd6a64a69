"""Batches of firings: how they are formed, what fails, and what a cancelled firing leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from lanemesh import Batch, Context, In, Json, Node, Out
from lanemesh.faults import Code, Fault, LanemeshError, NodeDefinitionError
from lanemesh.node.firing import batching
from lanemesh.node.firing.batch_bodies import Batchers
from lanemesh.node.firing.batching import Batcher
from lanemesh.node.runtime.actor import State
from lanemesh.testing import run_node, run_node_async
from pydantic import BaseModel

from rigs.batch_nodes import Shout, ShoutInThread
from rigs.runs import until


@pytest.fixture
async def batcher() -> AsyncIterator[Batcher]:
    """A batcher of `Shout`, whose gate is closed."""
    Shout.reset()
    made = Batcher(Shout())
    yield made
    await made.close()


def hand_in(batcher: Batcher, *texts: str, of: type[Any] = Shout, component: str = "") -> list[asyncio.Task[Any]]:
    """Firings with these texts."""

    def item(text: str) -> Any:
        node = of()
        node.text = text
        return node

    return [asyncio.create_task(batcher.result(item(text), lambda: None, component)) for text in texts]


async def outcomes(firings: list[asyncio.Task[Any]]) -> list[Any]:
    """The results and errors of firings; errors as texts."""
    results = await asyncio.gather(*firings, return_exceptions=True)
    return [str(result) if isinstance(result, Exception) else result for result in results]


async def test_what_waits_when_a_batch_ends_is_the_next_batch(batcher: Batcher) -> None:
    firings = hand_in(batcher, "a")
    await Shout.begun.wait()
    firings += hand_in(batcher, *"bcdefg")
    await asyncio.sleep(0)
    Shout.gate.set()
    assert await outcomes(firings) == list("ABCDEFG")
    assert Shout.seen == [["a"], ["b", "c", "d", "e"], ["f", "g"]]


async def test_a_batch_that_is_full_does_not_wait() -> None:
    class Patient(Shout):
        """Waits for others."""

        batch = Batch(max=2, within=60)

    Shout.reset(open=True)
    patient = Batcher(Patient())
    async with asyncio.timeout(5):
        assert await outcomes(hand_in(patient, "a", "b")) == ["A", "B"]
        lone = hand_in(patient, "c")
        await asyncio.sleep(0)
        assert Shout.seen == [["a", "b"]]
        assert await outcomes(lone + hand_in(patient, "d")) == ["C", "D"]
    assert Shout.seen == [["a", "b"], ["c", "d"]]


async def test_a_firing_that_is_alone_waits_for_the_set_time() -> None:
    class Brief(Shout):
        """Waits a moment."""

        batch = Batch(max=2, within=0.001)

    Shout.reset(open=True)
    async with asyncio.timeout(5):
        assert await outcomes(hand_in(Batcher(Brief()), "a")) == ["A"]


async def test_firings_that_keep_arriving_are_of_one_batch() -> None:
    class Gathers(Shout):
        """Waits for others."""

        batch = Batch(max=32, within=60)

    Shout.reset(open=True)
    gathers = Batcher(Gathers())
    firings: list[asyncio.Task[Any]] = []
    for text in "abcdefgh":
        firings += hand_in(gathers, text)
        for _ in range(batching.IDLE_TURNS - 1):
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await outcomes(firings) == list("ABCDEFGH")
    assert Shout.seen == [list("abcdefgh")]


async def test_firings_that_keep_arriving_do_not_delay_a_batch_for_long() -> None:
    class Gathers(Shout):
        """Waits a moment for others."""

        batch = Batch(max=4096, within=0.001)

    Shout.reset(open=True)
    gathers = Batcher(Gathers())
    firings: list[asyncio.Task[Any]] = []
    async with asyncio.timeout(10):
        while not Shout.seen:
            firings += hand_in(gathers, "a")
            await asyncio.sleep(0)
            assert len(firings) < 4096
    await outcomes(firings)


async def test_several_batches_at_once_if_permitted() -> None:
    class Wide(Shout):
        """Runs two batches."""

        batch = Batch(max=1, within=0, concurrency=2)

    Shout.reset()
    wide = Batcher(Wide())
    firings = hand_in(wide, *"abc")
    await until(lambda: len(Shout.seen) == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert Shout.seen == [["a"], ["b"]]
    Shout.gate.set()
    assert await outcomes(firings) == ["A", "B", "C"]


async def test_an_item_that_raises_fails_alone(batcher: Batcher) -> None:
    Shout.gate.set()
    firings = hand_in(batcher, "a", "poison", "c", "bad")
    assert await outcomes(firings) == ["A", "cannot shout poison", "C", "bad text"]
    assert Shout.seen == [["a", "poison", "c", "bad"], ["a", "poison"], ["a"], ["poison"], ["c", "bad"]]


async def test_an_error_that_no_item_causes_fails_all_at_once(batcher: Batcher) -> None:
    Shout.gate.set()
    assert await outcomes(hand_in(batcher, "a", "away", "c")) == ["the service is away"] * 3
    assert Shout.seen == [["a", "away", "c"]]


async def test_a_cancelled_firing_leaves_before_its_batch_begins(batcher: Batcher) -> None:
    first = hand_in(batcher, "a")
    await Shout.begun.wait()
    waiting = hand_in(batcher, "b", "c")
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    Shout.gate.set()
    assert await outcomes([*first, waiting[1]]) == ["A", "C"]
    assert Shout.seen == [["a"], ["c"]]


async def test_a_batch_is_cancelled_when_all_its_firings_are(batcher: Batcher) -> None:
    firings = hand_in(batcher, "a", "b")
    await Shout.begun.wait()
    firings[0].cancel()
    await asyncio.wait(firings[:1])
    assert Shout.cancelled == 0
    firings[1].cancel()
    await asyncio.wait(firings)
    Shout.gate.set()
    assert await outcomes(hand_in(batcher, "c")) == ["C"]
    assert Shout.cancelled == 1


async def test_closing_cancels_what_runs(batcher: Batcher) -> None:
    firings = hand_in(batcher, "a")
    await Shout.begun.wait()
    await batcher.close()
    assert Shout.cancelled == 1
    await asyncio.wait(firings)
    assert firings[0].cancelled()


async def test_closing_begins_no_further_batch(batcher: Batcher) -> None:
    firings = hand_in(batcher, *"abcdef")
    await Shout.begun.wait()
    await batcher.close()
    await asyncio.wait(firings, timeout=5)
    assert all(firing.cancelled() for firing in firings)
    assert len(Shout.seen) == 1


async def test_the_batch_after_one_that_goes_on_in_a_thread_waits_for_it() -> None:
    batcher, firing, abandoned = await running_in_a_thread("a")
    firing.cancel()
    await asyncio.wait([firing])
    assert abandoned.is_set()
    further = asyncio.create_task(batcher.result(in_thread("b"), lambda: None))
    for _ in range(20):
        await asyncio.sleep(0)
    assert ShoutInThread.seen == [["a"]]
    ShoutInThread.gate.set()
    assert await further == "test: B"
    assert ShoutInThread.seen == [["a"], ["b"]]


async def test_a_batch_that_goes_on_for_too_long_without_firings_is_abandoned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batching, "ABANDON_SECONDS", 0)
    batcher, firing, _ = await running_in_a_thread("a")
    firing.cancel()
    await asyncio.wait([firing])
    further = asyncio.create_task(batcher.result(in_thread("b"), lambda: None))
    await until(lambda: ShoutInThread.seen == [["a"], ["b"]])
    assert "further batches run beside it" in caplog.text
    ShoutInThread.gate.set()
    assert await further == "test: B"


async def running_in_a_thread(text: str) -> tuple[Batcher, asyncio.Task[Any], asyncio.Event]:
    """A batcher, the firing of its batch that runs in a thread, and an event that is set when that is abandoned."""
    ShoutInThread.gate, ShoutInThread.seen = threading.Event(), []
    abandoned = asyncio.Event()
    batcher = Batcher(ShoutInThread())
    firing = asyncio.create_task(batcher.result(in_thread(text), abandoned.set))
    await until(lambda: bool(ShoutInThread.seen))
    return batcher, firing, abandoned


def in_thread(text: str) -> ShoutInThread:
    """A firing's copy of `ShoutInThread`."""
    node = ShoutInThread()
    node.text, node.context = text, SimpleNamespace(component="test")
    return node


async def test_components_take_turns_when_more_wait_than_a_batch_has(batcher: Batcher) -> None:
    firings = hand_in(batcher, "a")
    await Shout.begun.wait()
    firings += hand_in(batcher, *"bcdefgh", component="busy")
    firings += hand_in(batcher, "x", component="other")
    await asyncio.sleep(0)
    Shout.gate.set()
    await outcomes(firings)
    assert Shout.seen == [["a"], ["b", "x", "c", "d"], ["e", "f", "g", "h"]]


@pytest.mark.parametrize("error", [StopIteration(3), asyncio.CancelledError(), SystemExit(1)])
async def test_an_error_that_no_future_carries_fails_its_firing_alone(error: BaseException) -> None:
    class Gathers(Node):
        """Returns what `asyncio.gather` with `return_exceptions` does."""

        batch = Batch(max=4, within=0)
        text: In[str]
        out: Out[str]

        async def process(self, items: list[Gathers]) -> list[Any]:
            return [error if item.text == "b" else item.text for item in items]

    found = await outcomes(hand_in(Batcher(Gathers()), *"abc", of=Gathers))
    assert [found[0], found[2]] == ["a", "c"]
    assert type(error).__name__ in found[1]


@pytest.mark.parametrize("code", [Code.PERMISSION_DENIED, Code.FAILED_PRECONDITION, Code.CANCELLED])
async def test_an_error_that_an_item_may_cause_fails_it_alone(code: Code) -> None:
    class Strict(Node):
        """Refuses a text."""

        batch = Batch(max=4, within=0)
        text: In[str]
        out: Out[str]

        async def process(self, items: list[Strict]) -> list[Any]:
            if any(item.text == "b" for item in items):
                raise LanemeshError(Fault(code=code, reason="bad-text", message="refused"))
            return [item.text for item in items]

    assert await outcomes(hand_in(Batcher(Strict()), *"abc", of=Strict)) == ["a", "refused", "c"]


@pytest.mark.parametrize("returned", [[], None])
async def test_an_item_without_a_result_fails_alone(returned: Any) -> None:
    class Forgetful(Node):
        """Returns too little because of an item."""

        batch = Batch(max=4, within=0)
        text: In[str]
        out: Out[str]

        async def process(self, items: list[Forgetful]) -> Any:
            return returned if any(not item.text for item in items) else [item.text for item in items]

    found = await outcomes(hand_in(Batcher(Forgetful()), "a", "", "c", of=Forgetful))
    assert [found[0], found[2]] == ["a", "c"]
    assert "Forgetful".lower() in found[1]
    assert "process returned" in found[1]


async def test_items_that_are_passed_again_are_as_they_were() -> None:
    class Changes(Node):
        """Changes its items before it fails."""

        batch = Batch(max=4, within=0)
        data: In[Json]
        out: Out[Json]

        async def process(self, items: list[Any]) -> list[Any]:
            for item in items:
                item.data["count"] += 1
                item.data = {**item.data, "seen": True}
            if len(items) > 1:
                raise ValueError("one at a time")
            return [{"out": item.data} for item in items]

    result = await run_node_async(Changes, data=[{"count": 0}, {"count": 10}])
    assert result.out == [{"count": 1, "seen": True}, {"count": 11, "seen": True}]


async def test_a_firing_that_is_cancelled_after_its_result_takes_no_other_along() -> None:
    firings: list[asyncio.Task[Any]] = []

    class Divided(Node):
        """Fails for two, and then cancels the first firing while the second one runs."""

        batch = Batch(max=2, within=0)
        text: In[str]
        out: Out[str]

        async def process(self, items: list[Divided]) -> list[Any]:
            if len(items) > 1:
                raise ValueError("too many")
            if items[0].text == "b":
                firings[0].cancel()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            return [items[0].text]

    firings += hand_in(Batcher(Divided()), "a", "b", of=Divided)
    await asyncio.wait(firings, timeout=5)
    assert firings[0].cancelled()
    assert firings[1].result() == "b"


async def test_attributes_that_a_batch_sets_on_self_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    class Counts(Node):
        """Counts on the node."""

        batch = Batch(max=2, within=0)
        text: In[str]
        out: Out[str]

        async def process(self, items: list[Counts]) -> list[Any]:
            self.count = len(items)
            return [item.text for item in items]

    batchers = Batchers()
    node = Counts()
    node.config, node.resource = Counts.Config(), None
    body = batchers.of(node, "{}", cast("Context", SimpleNamespace()))
    item = Counts()
    item.text = "a"
    assert await body.process(item) == "a"
    batchers.release(node, "{}")
    await until(lambda: batchers.count == 0)
    assert "Counts.process sets self.count, which later firings do not see" in caplog.text


def test_outputs_are_in_order_and_errors_skip_single_firings() -> None:
    class Plain(Node):
        """Measures texts in a thread."""

        class Config(BaseModel):
            added: int = 0

        batch = Batch(max=8)
        text: In[str]
        size: Out[int]

        @classmethod
        async def load(cls, config: Any) -> int:
            return 100

        def process(self, items: list[Plain]) -> list[Any]:
            return [
                len(item.text) + self.resource + self.config.added if item.text else ValueError("empty")
                for item in items
            ]

    result = run_node(Plain, text=["a", "", "ccc", *["dd"] * 40], config={"added": 1000}, on_error="skip")
    assert result.size == [1101, 1103, *[1102] * 40]
    assert (result.skipped, result.state) == (1, State.COMPLETED)


async def test_a_firing_is_retried_in_another_batch() -> None:
    class Moody(Node):
        """Fails at first."""

        batch = Batch(max=4, within=0)
        text: In[str]
        again: Out[str]

        @classmethod
        async def load(cls, config: Any) -> list[str]:
            return []

        async def process(self, items: list[Moody]) -> list[Any]:
            texts = [item.text for item in items]
            new = [text not in self.resource for text in texts]
            self.resource.extend(texts)
            return [ValueError("not yet") if first else text for first, text in zip(new, texts, strict=True)]

    result = await run_node_async(Moody, text=["a", "b"], on_error={"retry": {"attempts": 2}})
    assert (result.again, result.retried) == (["a", "b"], 2)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "1 items; return one per item, in the same order"),
        ("x", "return a list with one result per item"),
        (None, "process returned None"),
    ],
)
def test_wrong_results_are_reported(results: Any, message: str) -> None:
    class Wrong(Node):
        """Returns something else."""

        batch = Batch(max=4)
        text: In[str]
        out: Out[str]

        def process(self, items: list[Wrong]) -> Any:
            return results

    with pytest.raises(LanemeshError, match=message):
        run_node(Wrong, text=["a"])


def test_wrong_classes_are_reported_when_they_are_defined() -> None:
    with pytest.raises(NodeDefinitionError, match=r"write `def process\(self, items\)`"):

        class OfOne(Node):
            """Takes one firing."""

            batch = Batch()
            text: In[str]

            def process(self, context: Context) -> None:
                pass

    with pytest.raises(NodeDefinitionError, match="it has a batch, but implements gen_process"):

        class Streams(Node):
            """Yields."""

            batch = Batch()
            text: In[str]

            def gen_process(self, items: Any) -> Any:
                yield "x", 1

    with pytest.raises(NodeDefinitionError, match="the firings of a batch are of different runs"):

        class Isolated(Node):
            """Has a process."""

            batch = Batch()
            isolation = "process"
            text: In[str]

            def process(self, items: Any) -> Any:
                return items

    with pytest.raises(NodeDefinitionError, match="restartable, but it has a batch"):

        class Restartable(Node):
            """Is placed again."""

            batch = Batch()
            restartable = True
            text: In[str]

            def process(self, items: Any) -> Any:
                return items

    for bad in ({"max": 0}, {"within": -1}, {"concurrency": 0}, {"max": 1.5}):
        with pytest.raises(NodeDefinitionError, match=f"Batch: {next(iter(bad))} is"):
            Batch(**bad)


def test_a_port_of_a_node_without_batches_may_be_called_batch_or_context() -> None:
    class Named(Node):
        """Has these ports."""

        batch: In[str]
        context: Out[str]

        def process(self, _: Context) -> Any:
            return self.batch

    assert run_node(Named, batch="x").outputs["context"] == ["x"]


async def test_the_items_of_a_component_in_batches_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from lanemesh.node.firing import loop

    monkeypatch.setattr(loop, "MAX_BATCHED_BYTES", 250)
    Shout.reset(open=True)
    result = await run_node_async(Shout, text=[f"{number}{'x' * 99}" for number in range(6)])
    assert len(result.loud) == 6
    assert all(len(batch) <= 3 for batch in Shout.seen)
