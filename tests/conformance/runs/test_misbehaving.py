"""User code that raises unexpected exceptions fails by its name, in any place; nodes that end early end cleanly."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import nullcontext
from itertools import pairwise

import pytest
import pytest_asyncio
from lanemesh import Run
from lanemesh.client.run_reader import wire_updates
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh

from endings import lasting
from rigs.misbehaving_nodes import misbehave
from rigs.runs import RIGS, Pipeline, chat, ended, line, node, node_update, pipeline, response

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLETED, FAILED = update_pb2.RUN_STATE_COMPLETED, update_pb2.RUN_STATE_FAILED
MISBEHAVING_NODES = RIGS / "misbehaving_nodes.py"
HOWS = {"leak": "CancelledError", "self": "CancelledError", "panic": "Panic", "exit": "SystemExit", "no text": "NoText"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "spread"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    """A mesh with the nodes of this test."""
    found = [MISBEHAVING_NODES]
    made = Mesh("service", nodes=found) if request.param == "spread" else Mesh(nodes=found)
    async with lasting("the mesh", made) as mesh:
        yield mesh


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.conformance("RUN-05")
async def test_a_body_fails_by_its_name(mesh: Mesh, how: str) -> None:
    document = line(node("before", "passes", "chat"), node("a", "misbehaves", "before"), node("b", "passes", "a"))
    result, updates = await ended(mesh.run(document, input=how))
    assert result.state == "failed"
    assert result.error is not None
    assert (result.error.details["component"], result.error.details["exception"]) == ("a", HOWS[how])
    assert node_update(updates, "b").state in (update_pb2.NODE_STATE_CANCELLED, update_pb2.NODE_STATE_FAILED)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("hook", ["load", "finalize"])
async def test_a_hook_fails_its_component(mesh: Mesh, hook: str, how: str) -> None:
    result = await mesh.run(line(node("a", "hooked", "chat", hook=hook, how=how)), input="x").result()
    assert result.state == "failed"
    assert result.error is not None
    assert result.error.details["component"] == "a"
    assert HOWS[how] in result.error.message


@pytest.mark.parametrize("how", HOWS)
async def test_a_model_fails_the_call(mesh: Mesh, how: str) -> None:
    document = pipeline(
        chat(),
        {"id": "asks", "provider": "asks", "input": [{"lane": "questions", "from": "chat"}]},
        {"id": "model", "provider": "model", "control": [{"classType": "llm", "from": "asks"}]},
        {"id": "out", "provider": "response", "input": [{"lane": "answers", "from": "asks"}]},
    )
    result = await mesh.run(document, input=how).result()
    assert result.state == "failed"
    assert result.error is not None
    assert result.error.details["component"] == ("asks" if how == "self" else "model")
    assert HOWS[how] in result.error.message


async def inputs_that_fail(how: str) -> AsyncIterator[str]:
    """One input, and then what is asked for."""
    yield "x"
    await misbehave(how)


@pytest.mark.parametrize("how", [how for how in HOWS if how != "self"])
async def test_inputs_that_fail_end_their_run(mesh: Mesh, how: str) -> None:
    result = await mesh.run(line(node("a", "passes", "chat")), inputs=inputs_that_fail(how)).result()
    assert result.state == "cancelled"
    assert f"its inputs failed: {HOWS[how]}" in result.reason


def long(count: int, last: str) -> Pipeline:
    """A chain of so many nodes."""
    names = ["chat", *(f"n{place}" for place in range(count))]
    middle = [node(name, "passes", before) for before, name in pairwise(names)]
    return line(*middle, node("last", last, names[-1]))


async def test_a_chain_may_be_longer_than_the_stack_is_deep(mesh: Mesh) -> None:
    count = sys.getrecursionlimit() // 2
    result = await mesh.run(long(count, "takes_one"), inputs=["x", "y", "z"]).result()
    assert (result.state, result.values) == ("completed", ("x",))
    result = await mesh.run(long(count, "misbehaves"), inputs=["panic", "y", "z"]).result()
    assert result.error is not None
    assert result.error.message == "Panic: index"


async def test_fans_and_diamonds_stop_as_well(mesh: Mesh) -> None:
    layers = [[f"n{layer}_{place}" for place in range(3)] for layer in range(60)]
    middle = []
    before = ["chat"]
    for layer in layers:
        middle += [node(name, "passes", before[place % len(before)]) for place, name in enumerate(layer)]
        before = layer
    document = line(*middle, node("last", "takes_one", *before))
    result = await mesh.run(document, inputs=["x"] * 20).result()
    assert (result.state, result.values) == ("completed", ("x",))


async def test_a_generator_that_yields_after_its_end_has_ended_cleanly(mesh: Mesh) -> None:
    document = line(node("talks", "talks", "chat"), node("one", "takes_one", "talks"))
    result, updates = await ended(mesh.run(document, input="x"))
    assert (result.state, result.values) == ("completed", ("x",))
    logged = [update.log.message for update in updates if update.log.component == "talks"]
    assert len(logged) == 1
    assert "yielded after it was closed" in logged[0]


async def end_waiting(run: Run) -> None:
    """Ends the waiting node when it has subscribed; there is no other event for the subscription."""
    async with asyncio.timeout(10):
        while not await run.channels.publish("end", True):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("collects", ["collects", "collects_in_run"])
async def test_a_list_is_complete_or_is_not_there(mesh: Mesh, collects: str) -> None:
    """Its consumer ends while it collects: what had come until then is no list."""
    document = pipeline(chat(), node("list", collects, "chat"), node("ends", "ends", "list"), response("ends"))
    async with mesh.run(document, open_input=True) as run, run.channels.subscribe("fired") as fired:
        await run.push("a")
        await end_waiting(run)
        result = await run.result()
        assert (result.state, fired.waiting_count) == ("completed", 0)


async def test_a_forgotten_subscription_ends_with_its_node(mesh: Mesh) -> None:
    document = pipeline(
        chat(),
        node("one", "takes_one", "chat"),
        node("forgets", "forgets", "one"),
        node("waits", "ends", "chat"),
        response("forgets"),
    )
    async with mesh.run(document, input="x") as run:
        async for update in wire_updates(run):
            if update.node.component == "forgets" and update.node.state == update_pb2.NODE_STATE_COMPLETED:
                async with asyncio.timeout(5):  # its leaving and its update come by streams of their own
                    while await run.channels.publish("news", 1):
                        pass
                await end_waiting(run)
    assert run.state == "completed"


async def test_the_time_of_a_chain_grows_with_its_length() -> None:
    """Ten times the nodes take about ten times as long, and not a hundred times."""
    async with Mesh(nodes=[MISBEHAVING_NODES]) as mesh:

        async def seconds(count: int) -> float:
            began = time.process_time()
            await mesh.run(long(count, "takes_one"), input="x").result()
            return time.process_time() - began

        await seconds(10)
        short = min([await seconds(100) for _ in range(3)])
        for _ in range(3):  # other load passes, and what grows with the square of the length stays
            if (tall := await seconds(1_000)) < 40 * short:
                break
        assert tall < 40 * short


@pytest.mark.parametrize("detached", [False, True])
async def test_a_client_that_waits_for_a_while_loses_nothing(mesh: Mesh, detached: bool) -> None:
    document = line(node("a", "passes", "chat"))
    run = await mesh.start(document, open_input=True) if detached else mesh.run(document, open_input=True)
    async with run if isinstance(run, Run) else nullcontext():
        outputs = run.values()
        for text in ("x", "y"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(outputs), 0.01)
            await run.push(text)
            assert await asyncio.wait_for(anext(outputs), 10) == text
        await run.end_input()
        assert [text async for text in outputs] == []
    assert run.state == "completed"
