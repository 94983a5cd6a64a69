"""Nodes whose firings use a GPU, in pipelines: models that swap, waits that show, and no deadlock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from lanemesh import Context, Gpu, In, Inputs, Node, NodeState, NodeUpdate, Out, Outputs
from lanemesh.faults import NodeDefinitionError
from lanemesh.gpu import EmbeddedLink, GpuClient, GpuOutOfMemory, OutOfMemory, arbiter
from lanemesh.gpu.simulated import FOREIGN, simulated_memory
from lanemesh.testing import run_node_async
from lanemesh.v1 import gpu_pb2
from lanemesh_orchestrator import Mesh

from repeats import times
from rigs.gpu import STUCK_BEGUN, STUCK_MAY_END, Client, entered
from rigs.gpu_nodes import GpuEcho, ImageModel, LanguageModel
from rigs.runs import chat, node, pipeline, response

NODES = Path(__file__).parents[1] / "rigs" / "gpu_nodes.py"

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One device of 24 GiB, observed, shared by all processes of the test."""
    monkeypatch.setenv("LANEMESH_GPUS", "sim:0=24GiB")
    monkeypatch.setenv("LANEMESH_GPU_STATE", str(tmp_path / "gpus"))
    monkeypatch.setattr(arbiter, "_embedded", None)


@pytest.fixture(params=["embedded", "component"])
async def mesh(request: pytest.FixtureRequest, devices: None) -> AsyncIterator[Mesh]:
    async with Mesh("component" if request.param == "component" else None, nodes=[NODES]) as made:
        yield made


@pytest.fixture
async def embedded(devices: None) -> AsyncIterator[Mesh]:
    async with Mesh(nodes=[NODES]) as made:
        yield made


def three_models() -> dict[str, Any]:
    """26 GiB of models for a device of 24 GiB."""
    return pipeline(
        chat(),
        node("image", "image_model", "chat", memory="10GiB", peak="14GiB"),
        node("speech", "speech_model", "chat", memory="4GiB", peak="5GiB"),
        node("llm", "language_model", "chat", memory="12GiB", peak="16GiB"),
        response("image", "speech", "llm"),
    )


@pytest.mark.conformance("GPU-07")
async def test_three_models_that_do_not_fit_together_swap_and_finish(mesh: Mesh) -> None:
    async with asyncio.timeout(50):
        run = mesh.run(three_models(), inputs=[f"cats {number}" for number in range(4)])
        result = await run.result()
    assert result.state == "completed", result.error
    answers = sorted(result.values)
    assert [text for text in answers if text.startswith("image")] == [f"image: cats {number}" for number in range(4)]
    assert [text for text in answers if text.startswith("speech")] == [f"speech: cats {number}" for number in range(4)]
    assert sorted(text for text in answers if ":" not in text) == sorted(["cats"] * 4 + ["0", "1", "2", "3"])


@pytest.mark.conformance("GPU-07")
@pytest.mark.many
@pytest.mark.timeout(300)
async def test_a_gpu_producer_and_a_gpu_consumer_of_one_device_complete(mesh: Mesh) -> None:
    """Each has the device for itself, and the lane between them is shorter than what passes."""
    document = pipeline(
        chat(),
        node("count", "gpu_count", "chat"),
        node("echo", "gpu_echo", {"lane": "text", "from": "count", "buffer_limit": 2}),
        response("echo"),
    )
    items = times(1_000)
    async with asyncio.timeout(250):
        result = await mesh.run(document, input=str(items)).result()
    assert result.state == "completed", result.error
    assert list(result.values) == [str(number) for number in range(items)]


def story(image: str, speech: str, llm: str, **document: Any) -> dict[str, Any]:
    """A language model whose words an image model and a speech model take, over lanes that are shorter than its answer. While it
    has an answer, either of the two fits beside it on a device of 24 GiB, and they swap."""
    lane = {"lane": "text", "from": "llm", "buffer_limit": 2}
    return pipeline(
        chat(),
        node("llm", llm, "chat", memory="10GiB", peak="12GiB"),
        node("image", image, lane, memory="8GiB", peak="11GiB"),
        node("speech", speech, lane, memory="5GiB", peak="7GiB"),
        response("image", "speech"),
        **document,
    )


WORDS = " ".join(str(number) for number in range(20))


@pytest.mark.conformance("GPU-07")
async def test_a_language_model_feeds_an_image_and_a_speech_model_on_one_device(mesh: Mesh) -> None:
    async with asyncio.timeout(50):
        result = await mesh.run(story("image_model", "speech_model", "language_model"), input=WORDS).result()
    assert result.state == "completed", result.error
    expected = [f"{model}: {word}" for model in ("image", "speech") for word in WORDS.split()]
    assert sorted(result.values) == sorted(expected)


async def test_a_lock_that_is_held_while_a_node_emits_deadlocks_there(embedded: Mesh) -> None:
    """What leases that are yielded avoid: the same pipeline under one lock does not end by itself."""
    document = story("locked_image_model", "locked_image_model", "locked_language_model", timeout=1)
    result = await embedded.run(document, input=WORDS).result()
    assert result.state == "failed"
    assert result.error is not None
    assert "took longer than its timeout of 1 s" in result.error.message
    assert result.values == ()


@pytest.mark.conformance("GPU-10")
async def test_a_node_that_waits_for_a_lease_shows_its_position_and_reason(embedded: Mesh) -> None:
    other = GpuClient(EmbeddedLink(), gpu_pb2.LeaseHolder(component="somebody else"))
    states: list[tuple[NodeState, str]] = []
    async with asyncio.timeout(30):
        async with other.lease():
            run = embedded.run(pipeline(chat(), node("echo", "gpu_echo", "chat"), response("echo")), input="x")
            updates = run.updates()
            async for update in updates:
                if isinstance(update, NodeUpdate) and update.component == "echo":
                    states.append((update.state, update.detail))
                    if update.state is NodeState.WAITING:
                        break
        async for update in updates:
            if isinstance(update, NodeUpdate) and update.component == "echo":
                states.append((update.state, update.detail))
    waiting = next(detail for state, detail in states if state is NodeState.WAITING)
    assert waiting.startswith("waits for a GPU at position 1: sim:0: ")
    assert 'by "somebody else"' in waiting
    kinds = [state for state, _ in states]
    assert kinds[kinds.index(NodeState.WAITING) + 1 :][0] is NodeState.RUNNING
    assert kinds[-1] is NodeState.COMPLETED


async def test_the_wait_for_a_lease_does_not_count_for_the_time_limit_of_a_firing(embedded: Mesh) -> None:
    other = GpuClient(EmbeddedLink(), gpu_pb2.LeaseHolder(component="somebody else"))
    limit = 2.0  # the body itself stays within it also on a busy machine
    echo = node("echo", "gpu_echo", "chat") | {"timeout": limit}
    async with asyncio.timeout(30):
        async with other.lease():
            run = embedded.run(pipeline(chat(), echo, response("echo")), input="x")
            updates = run.updates()
            async for update in updates:
                if isinstance(update, NodeUpdate) and update.state is NodeState.WAITING:
                    await asyncio.sleep(1.1 * limit)
                    break
        ends = [update async for update in updates if isinstance(update, NodeUpdate) and update.component == "echo"]
    assert (ends[-1].state, ends[-1].firings) == (NodeState.COMPLETED, 1), ends[-1].error


@pytest.mark.conformance("GPU-05")
@pytest.mark.parametrize("stuck", ["gpu_stuck", "gpu_stuck_steps"])
async def test_a_cancelled_body_that_goes_on_in_its_thread_keeps_the_gpu_until_it_has_ended(
    embedded: Mesh, stuck: str
) -> None:
    STUCK_BEGUN.clear()
    STUCK_MAY_END.clear()
    other = Client(EmbeddedLink(), "other", "r2")
    async with asyncio.timeout(30):
        run = embedded.run(pipeline(chat(), node("stuck", stuck, "chat"), response("stuck")), input="x")
        ended = asyncio.ensure_future(run.result())
        await asyncio.to_thread(STUCK_BEGUN.wait, 20)
        await run.cancel()
        assert (await ended).state == "cancelled"
        waiting = asyncio.create_task(entered(other.lease()))
        try:
            await other.until_place(1)
            assert not waiting.done()
        finally:
            STUCK_MAY_END.set()
        await waiting


async def test_foreign_memory_is_counted(embedded: Mesh) -> None:
    foreign = simulated_memory().allocate("sim:0", "12GiB", process=FOREIGN)
    document = pipeline(chat(), node("image", "image_model", "chat", memory="10GiB", peak="14GiB"), response("image"))
    async with asyncio.timeout(30):
        run = embedded.run(document, input="cats")
        async for update in run.updates():
            if isinstance(update, NodeUpdate) and update.state is NodeState.WAITING:
                assert "other processes have 12.0 GiB" in update.detail
                foreign.free()
        assert (await run.result()).state == "completed"


# One node


@pytest.mark.conformance("GPU-11")
async def test_a_model_that_takes_more_than_it_declares_is_repeated_and_then_fails_clearly(devices: None) -> None:
    config = {"memory": "10GiB", "peak": "12GiB", "real_peak": "30GiB"}
    with pytest.raises(GpuOutOfMemory, match=r"sim:0 \(24.0 GiB\) ran out of memory twice"):
        await run_node_async(LanguageModel, text="hello", config=config)


async def test_the_size_of_a_model_that_takes_more_than_it_declares_is_learned(
    devices: None, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"memory": "10GiB", "peak": "10GiB", "real_peak": "13GiB"}
    result = await run_node_async(ImageModel, text=["a", "b"], config=config, component="image")
    assert result.answer == ["image: a", "image: b"]
    assert "requested 10.0 GiB of sim:0" in caplog.text
    assert "and got 13.0 GiB, which earlier leases for it had" in caplog.text


async def test_a_node_that_leaks_ends_with_a_clear_error(devices: None) -> None:
    config = {"memory": "4GiB", "peak": "8GiB", "leak": "6GiB"}
    with pytest.raises(GpuOutOfMemory, match="ran out of memory twice"):
        await run_node_async(ImageModel, text=["a"] * 5, config=config)


async def test_a_model_that_does_not_unload_is_reported(devices: None, caplog: pytest.LogCaptureFixture) -> None:
    result = await run_node_async(ImageModel, text="a", config={"unload": "raises"}, component="image")
    assert result.answer == ["image: a"]
    assert "failed: RuntimeError: the simulated model does not unload" in caplog.text


class Drawing(Node):
    """Runs out of memory at the first attempt."""

    gpu = Gpu(memory="6GiB", peak="9GiB")
    attempts: ClassVar[int] = 0
    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        Drawing.attempts += 1
        if Drawing.attempts == 1:
            raise OutOfMemory("no memory")
        (lease,) = context.gpu.held
        lease.check()
        return {"out": f"{self.text} {lease.device.id}"}


@pytest.mark.conformance("GPU-11")
async def test_a_firing_that_runs_out_of_memory_is_repeated_once(devices: None) -> None:
    Drawing.attempts = 0
    result = await run_node_async(Drawing, text=["a", "b"])
    assert result.out == ["a sim:0", "b sim:0"]
    assert Drawing.attempts == 3


async def test_a_synchronous_body_runs_under_a_lease(devices: None) -> None:
    class Synchronous(Node):
        gpu = Gpu(memory=lambda config: "6GiB")
        text: In[str]
        out: Out[str]

        def process(self, context: Context) -> dict[str, str]:
            return {"out": context.gpu.held[0].device.id}

    assert (await run_node_async(Synchronous, text="x")).out == ["sim:0"]


async def test_an_isolated_body_runs_under_a_lease(devices: None) -> None:
    result = await run_node_async(GpuEcho, text=["a", "b"], isolation="process")
    assert result.out == ["a", "b"]


async def runs(self: Node, context: Context, inputs: Inputs, outputs: Outputs) -> None:
    """The body of a class that has a gpu, and may not."""


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"gpu": Gpu(), "run": runs}, "implements run"),
        ({"gpu": Gpu(), "load_model": classmethod(lambda cls, config, device: None)}, "gives no memory"),
        ({"load_model": classmethod(lambda cls, config, device: None)}, "but no gpu"),
    ],
)
def test_a_gpu_that_contradicts_its_class_is_refused(attributes: dict[str, Any], message: str) -> None:
    body = {} if "run" in attributes else {"process": lambda self, context: None}
    with pytest.raises(NodeDefinitionError, match=message):
        type("Contradiction", (Node,), {"__annotations__": {"text": In[str]}, **body, **attributes})


@pytest.mark.parametrize(
    "bounds", [{"count": 0}, {"memory": "much"}, {"model": "m"}, {"device": "sim:0", "count": 2}, {"wait_timeout": 0}]
)
def test_a_gpu_out_of_bounds_is_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(NodeDefinitionError, match="Gpu: "):
        Gpu(**bounds)
