"""Batches of firings: how they are formed, what fails, and what a cancelled firing leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lanemesh import Batch, Context, In, Node, Out
from lanemesh.faults import LanemeshError, NodeDefinitionError
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


def hand_in(batcher: Batcher, *texts: str) -> list[asyncio.Task[Any]]:
    """Firings with these texts."""

    def item(text: str) -> Shout:
        node = Shout()
        node.text = text
        return node

    return [asyncio.create_task(batcher.result(item(text), lambda: None)) for text in texts]


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


async def test_a_batch_in_a_thread_is_abandoned_with_its_last_firing() -> None:
    ShoutInThread.gate = threading.Event()
    node = ShoutInThread()
    node.text = "a"
    abandoned = asyncio.Event()
    batcher = Batcher(ShoutInThread())
    firing = asyncio.create_task(batcher.result(node, abandoned.set))
    await until(lambda: batcher.is_running)
    firing.cancel()
    await asyncio.wait([firing])
    assert abandoned.is_set()
    ShoutInThread.gate.set()
    await batcher.close()


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
