"""Firings of several runs in one batch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lanemesh import LanemeshError, Service
from lanemesh_orchestrator import Mesh

from rigs.batch_nodes import Pair, Shout, ShoutInThread
from rigs.runs import chat, lane, line, node, pipeline, response, until

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    """A mesh in this process with batching nodes, which wait at a gate."""
    Shout.reset()
    ShoutInThread.gate, ShoutInThread.seen = threading.Event(), []
    async with Mesh() as mesh:
        mesh.orchestrator.host.node_types.replace([Service("own", [Shout, ShoutInThread, Pair])])
        yield mesh


def shouting(provider: str = "shout", **settings: Any) -> dict[str, Any]:
    """A chat, a node that shouts, and a response."""
    return line({**node("a", provider, "chat"), **settings})


async def first_batch(mesh: Mesh) -> Any:
    """A run whose batch has begun and waits at the gate."""
    run = mesh.run(shouting(), input="first")
    result = asyncio.create_task(run.result())
    await Shout.begun.wait()
    return result


async def test_runs_share_a_batch_and_get_their_own_results_in_order(mesh: Mesh) -> None:
    first = await first_batch(mesh)
    async with (
        mesh.run(shouting(), open_input=True) as one,
        mesh.run(shouting(), open_input=True) as two,
    ):
        for run, texts in ((one, ("a1", "a2")), (two, ("b1", "b2"))):
            for text in texts:
                await run.push(text)
        await settled(mesh, 4)
        Shout.gate.set()
        for run in (one, two):
            await run.end_input()
        assert (await one.result()).values == ("A1", "A2")
        assert (await two.result()).values == ("B1", "B2")
    assert (await first).values == ("FIRST",)
    assert [len(batch) for batch in Shout.seen] == [1, 4]
    assert sorted(Shout.seen[1]) == ["a1", "a2", "b1", "b2"]


async def test_items_keep_their_lineage_through_a_batch_that_drops_some(mesh: Mesh) -> None:
    Shout.gate.set()
    document = pipeline(
        chat(),
        {**node("loud", "shout", "chat"), "on_error": "skip"},
        node("pair", "pair", lane("loud", input="left"), lane("chat", input="right")),
        response("pair"),
    )
    runs = [mesh.run(document, inputs=[f"{name}1", "bad", f"{name}2", "poison", f"{name}3"]) for name in "xy"]
    results = await asyncio.gather(*(run.result() for run in runs))
    assert [result.values for result in results] == [
        tuple(f"{name.upper()}{number}={name}{number}" for number in (1, 2, 3)) for name in "xy"
    ]


async def test_a_poisoned_item_fails_its_run_alone(mesh: Mesh) -> None:
    first = await first_batch(mesh)
    runs = [asyncio.create_task(mesh.run(shouting(), input=text).result()) for text in ("a", "poison", "c")]
    await settled(mesh, 3)
    Shout.gate.set()
    results = await asyncio.gather(*runs)
    assert [result.state for result in results] == ["completed", "failed", "completed"]
    assert results[1].error is not None
    assert "cannot shout poison" in results[1].error.message
    assert "a," not in results[1].error.message  # nothing of the other runs
    assert (await first).state == "completed"


async def test_a_cancelled_run_leaves_the_batch_and_the_others_continue(mesh: Mesh) -> None:
    first = await first_batch(mesh)
    going = mesh.run(shouting(), input="b")
    leaving = mesh.run(shouting(), input="c")
    results = [asyncio.create_task(run.result()) for run in (going, leaving)]
    await settled(mesh, 2)
    await leaving.cancel()
    assert (await results[1]).state == "cancelled"
    Shout.gate.set()
    assert (await results[0]).values == ("B",)
    assert (await first).values == ("FIRST",)
    assert Shout.seen == [["first"], ["b"]]


async def test_a_cancelled_run_whose_batch_runs_does_not_stop_the_others(mesh: Mesh) -> None:
    first = await first_batch(mesh)
    runs = [mesh.run(shouting(), input=text) for text in "bc"]
    results = [asyncio.create_task(run.result()) for run in runs]
    await settled(mesh, 2)
    first_gate, Shout.gate = Shout.gate, asyncio.Event()
    first_gate.set()
    await first
    await until(lambda: len(Shout.seen) == 2)
    await runs[0].cancel()
    assert (await results[0]).state == "cancelled"
    Shout.gate.set()
    assert (await results[1]).values == ("C",)


async def test_a_timeout_fails_one_firing_and_its_batch_continues(mesh: Mesh) -> None:
    first = await first_batch(mesh)
    late = await mesh.run(shouting(timeout=0.05), input="late").result()
    assert late.error is not None
    assert "took longer than its timeout" in late.error.message
    Shout.gate.set()
    assert (await first).values == ("FIRST",)


async def test_batches_in_threads_know_the_component_of_each_item(mesh: Mesh) -> None:
    ShoutInThread.gate.set()
    result = await mesh.run(shouting("shout_in_thread"), input="x").result()
    assert result.values == ("a: X",)


async def test_a_run_waits_for_the_batch_in_a_thread_that_a_cancelled_run_has_left(mesh: Mesh) -> None:
    leaving = mesh.run(shouting("shout_in_thread"), input="left")
    left = asyncio.create_task(leaving.result())
    await until(lambda: ShoutInThread.seen == [["left"]])
    await leaving.cancel()
    assert (await left).state == "cancelled"
    result = asyncio.create_task(mesh.run(shouting("shout_in_thread"), input="next").result())
    await settled(mesh, 1)
    assert ShoutInThread.seen == [["left"]]
    ShoutInThread.gate.set()
    assert (await result).values == ("a: NEXT",)
    await until(lambda: mesh.orchestrator.host.resources.batchers.count == 0)


async def test_configs_and_concurrency_are_those_of_the_pipeline(mesh: Mesh) -> None:
    Shout.gate.set()
    async with mesh.run(shouting(concurrency=1), open_input=True) as run:
        for text in "abc":
            await run.push(text)
        await run.end_input()
        assert (await run.result()).values == ("A", "B", "C")
    assert Shout.seen == [["a"], ["b"], ["c"]]


async def test_a_process_of_its_own_is_refused(mesh: Mesh) -> None:
    with pytest.raises(LanemeshError, match="firings of several runs in one batch, so `isolation` cannot be process"):
        (await mesh.run(shouting(isolation="process"), input="x").result()).raise_for_state()


async def test_closing_a_mesh_cancels_its_batches() -> None:
    Shout.reset()
    async with Mesh() as mesh:
        mesh.orchestrator.host.node_types.replace([Service("own", [Shout])])
        first = await first_batch(mesh)
    assert Shout.cancelled == 1
    assert (await first).state == "cancelled"


async def settled(mesh: Mesh, count: int) -> None:
    """Waits until so many firings wait for a batch."""
    await until(lambda: mesh.orchestrator.host.resources.batchers.waiting == count)
