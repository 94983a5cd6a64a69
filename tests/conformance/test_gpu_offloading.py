"""Models that are offloaded to host memory while the firings that use them wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Gpu, In, Node, Out
from lanemesh.faults import NodeDefinitionError
from lanemesh.gpu import Lease, LeaseError, arbiter
from lanemesh.gpu import models as gpu_models
from lanemesh_orchestrator import Mesh

from rigs.gpu import EVERYWHERE, Client, Place, entered, place
from rigs.runs import chat, node, pipeline, response

NODES = Path(__file__).parents[1] / "rigs" / "gpu_nodes.py"
LARGE = "600MiB"
"""The memory of a model, of which a device of 1 GiB has one at a time."""


@pytest.fixture(params=EVERYWHERE)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with place(request.param) as made:
        yield made


@pytest.fixture(params=["embedded", "component"])
async def mesh(request: pytest.FixtureRequest, devices: None) -> AsyncIterator[Mesh]:
    async with Mesh("component" if request.param == "component" else None, nodes=[NODES]) as made:
        yield made


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One device of 24 GiB, observed, shared by all processes of the test."""
    monkeypatch.setenv("LANEMESH_GPUS", "sim:0=24GiB")
    monkeypatch.setenv("LANEMESH_GPU_STATE", str(tmp_path / "gpus"))
    monkeypatch.setattr(arbiter, "_embedded", None)


WORDS = " ".join(str(number) for number in range(6))


def story(llm: str, image: str = "image_model", **config: str) -> dict[str, Any]:
    """A language model whose words an image model takes, over a lane that is shorter than its answer. No two of the models fit on
    one device of 24 GiB."""
    return pipeline(
        chat(),
        node("llm", llm, "chat", memory="14GiB", peak="16GiB", **config),
        node("image", image, {"lane": "text", "from": "llm", "buffer_limit": 2}, memory="14GiB", peak="16GiB"),
        response("image"),
    )


@pytest.mark.conformance("GPU-07")
async def test_a_producer_and_a_consumer_whose_models_do_not_fit_together_finish(mesh: Mesh) -> None:
    result = await mesh.run(story("language_model"), input=WORDS).result()
    assert result.state == "completed", result.error
    assert list(result.values) == [f"image: {word}" for word in WORDS.split()]


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_a_model_that_is_not_offloaded_is_used_by_no_later_run(
    devices: None, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(gpu_models, "UNLOAD_TIMEOUT", 0.05)
    async with Mesh(nodes=[NODES]) as mesh:
        run = mesh.run(story("language_model", offload=how), input=WORDS)
        result = asyncio.create_task(run.result())
        here = arbiter.embedded_arbiter()
        while not any(each.offload_failed for each in here._core.memory["sim:0"].residents.values()):
            await here.changed.wait()
        await run.cancel()
        assert (await result).state == "cancelled"
        again = await mesh.run(story("language_model"), input=WORDS).result()
        assert again.state == "completed", again.error


class Model:
    """A model that is moved, and remembers where to."""

    def __init__(self) -> None:
        self.moves: list[str] = []
        self.begun, self.may_offload = asyncio.Event(), asyncio.Event()
        self.may_offload.set()

    async def keep(self, lease: Lease) -> Model:
        return await lease.keep(self._load, self._unload, offload=self._offload, restore=self._restore)

    async def _load(self) -> Model:
        self.moves.append("load")
        return self

    async def _unload(self, _: Model) -> None:
        self.moves.append("unload")

    async def _offload(self, _: Model) -> None:
        self.begun.set()
        await self.may_offload.wait()
        self.moves.append("offload")

    def _restore(self, _: Model) -> None:
        self.moves.append("restore")


class Firing:
    """Uses a model, and waits in the middle."""

    def __init__(self, client: Client, model: Model) -> None:
        self.waits, self.may_go_on, self.returned = (asyncio.Event() for _ in range(3))
        self.may_end = asyncio.Event()
        self.task = asyncio.create_task(self._run(client.firing(), model))

    async def _run(self, gpu: Any, model: Model) -> None:
        async with gpu.lease(memory=LARGE, model="m") as lease:
            await model.keep(lease)
            async with gpu.waiting():
                self.waits.set()
                await self.may_go_on.wait()
            lease.check()
            self.returned.set()
            await self.may_end.wait()


class SlowlyRestored(Model):
    """A model that is restored when it may be."""

    def __init__(self) -> None:
        super().__init__()
        self.restoring, self.may_restore = asyncio.Event(), asyncio.Event()
        self.fails = False

    async def _restore(self, _: Model) -> None:  # type: ignore[override]
        self.restoring.set()
        await self.may_restore.wait()
        if self.fails:
            raise RuntimeError("the host memory is gone")
        self.moves.append("restore")

    async def restore_for_cancelled(self, firing: Firing) -> None:
        """A firing goes on, and is cancelled while the model is restored for it."""
        firing.may_go_on.set()
        await self.restoring.wait()
        firing.task.cancel()
        await asyncio.wait({firing.task})


async def test_a_model_is_offloaded_only_while_all_leases_that_use_it_wait(here: Place) -> None:
    model, client, other = Model(), here.client("producer"), here.client("consumer")
    first, second = Firing(client, model), Firing(client, model)
    await asyncio.gather(first.waits.wait(), second.waits.wait())
    await entered(other.lease(memory=LARGE))
    assert model.moves == ["load", "offload"]
    first.may_go_on.set()
    await first.returned.wait()
    assert model.moves == ["load", "offload", "restore"]
    waiting = asyncio.create_task(entered(other.lease(memory=LARGE)))
    await other.until_place(1)
    second.may_go_on.set()
    await second.returned.wait()
    assert model.moves == ["load", "offload", "restore"], "it was restored once, for both"
    assert not waiting.done()
    for firing in (first, second):
        firing.may_end.set()
        await firing.task
    await waiting
    assert model.moves == ["load", "offload", "restore", "unload"]


async def test_a_new_lease_for_an_offloaded_model_restores_it(here: Place) -> None:
    model, client, other = Model(), here.client("producer"), here.client("consumer")
    first = Firing(client, model)
    await first.waits.wait()
    await entered(other.lease(memory=LARGE))
    (shown,) = here.arbiter.status()[0].models
    assert (shown.offloaded, shown.memory_bytes) == (True, 0)
    async with client.firing().lease(memory=LARGE, model="m") as lease:
        assert await model.keep(lease) is model
        assert model.moves == ["load", "offload", "restore"]
    first.may_go_on.set()
    first.may_end.set()
    await first.task
    assert model.moves == ["load", "offload", "restore"]


async def test_a_lease_that_comes_back_during_the_offloading_waits_for_its_end(here: Place) -> None:
    model, client, other = Model(), here.client("producer"), here.client("consumer")
    model.may_offload.clear()
    first = Firing(client, model)
    await first.waits.wait()
    waiting = asyncio.create_task(entered(other.lease(memory=LARGE)))
    await model.begun.wait()
    first.may_go_on.set()
    while not any("is being offloaded, and is restored after that" in each.reason for each in here.arbiter.leases()):
        await here.arbiter.changed.wait()
    assert not waiting.done()
    assert not first.returned.is_set()
    model.may_offload.set()
    await first.returned.wait()
    assert model.moves == ["load", "offload", "restore"]
    first.may_end.set()
    await asyncio.gather(first.task, waiting)


@pytest.mark.parametrize("during", [True, False], ids=["during the offloading", "after it"])
async def test_a_cancelled_firing_whose_model_was_offloaded_unloads_it(here: Place, during: bool) -> None:
    model, client, other = Model(), here.client("producer"), here.client("consumer")
    if during:
        model.may_offload.clear()
    first = Firing(client, model)
    await first.waits.wait()
    waiting = asyncio.create_task(entered(other.lease(memory=LARGE)))
    await model.begun.wait()
    if not during:
        await waiting
    first.task.cancel()
    await asyncio.wait({first.task})
    model.may_offload.set()
    await waiting
    async with client.lease(memory=LARGE, model="m") as lease:
        await model.keep(lease)
    assert model.moves == ["load", "offload", "unload", "load"]


async def test_a_model_that_is_not_restored_is_loaded_again_for_the_next_lease(here: Place) -> None:
    model, client, other = Model(), here.client("producer"), here.client("consumer")

    def fail(_: Model) -> None:
        raise RuntimeError("the host memory is gone")

    model._restore = fail  # type: ignore[method-assign]
    first, second = Firing(client, model), Firing(client, model)
    await asyncio.gather(first.waits.wait(), second.waits.wait())
    await entered(other.lease(memory=LARGE))
    for firing, error in ((first, RuntimeError), (second, LeaseError)):
        firing.may_go_on.set()
        with pytest.raises(error, match="the host memory is gone"):
            await firing.task
    async with client.lease(memory=LARGE, model="m") as lease:
        await model.keep(lease)
    assert model.moves == ["load", "offload", "unload", "load"]


async def test_a_model_that_is_restored_for_a_cancelled_firing_is_offloaded_after_that(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, client, other = SlowlyRestored(), here.client("producer"), here.client("consumer")
    first, second = Firing(client, model), Firing(client, model)
    await asyncio.gather(first.waits.wait(), second.waits.wait())
    await entered(other.lease(memory=LARGE))
    await model.restore_for_cancelled(first)
    requested, offload = asyncio.Event(), gpu_models.ModelStore.offload

    def observed(*arguments: Any) -> None:
        offload(*arguments)
        requested.set()

    monkeypatch.setattr(gpu_models.ModelStore, "offload", observed)
    waiting = asyncio.create_task(entered(other.lease(memory=LARGE)))
    await requested.wait()
    model.may_restore.set()
    await waiting
    assert model.moves == ["load", "offload", "restore", "offload"]
    second.may_go_on.set()
    second.may_end.set()
    await second.task


async def test_a_model_that_is_not_restored_for_a_cancelled_firing_is_unloaded(here: Place) -> None:
    model, client, other = SlowlyRestored(), here.client("producer"), here.client("consumer")
    first = Firing(client, model)
    await first.waits.wait()
    await entered(other.lease(memory=LARGE))
    model.fails = True
    await model.restore_for_cancelled(first)
    model.may_restore.set()
    while here.arbiter.status()[0].models:
        await here.arbiter.changed.wait()
    async with client.lease(memory=LARGE, model="m") as lease:
        await model.keep(lease)
    assert model.moves == ["load", "offload", "unload", "load"]


async def test_the_error_of_a_lease_says_that_its_model_was_not_offloaded(here: Place) -> None:
    model, client, other = Model(), here.client("producer"), here.client("consumer")

    def fail(_: Model) -> None:
        raise RuntimeError("the host has no memory")

    model._offload = fail  # type: ignore[assignment, method-assign]
    first = Firing(client, model)
    await first.waits.wait()
    waiting = asyncio.create_task(entered(other.lease(memory=LARGE)))
    while not any(each.offload_failed for each in here.arbiter._core.memory["sim:0"].residents.values()):
        await here.arbiter.changed.wait()
    assert not waiting.done()
    first.may_go_on.set()
    with pytest.raises(LeaseError, match="failed: RuntimeError: the host has no memory") as caught:
        await first.task
    assert caught.value.fault.reason == "gpu-offload-failed"
    await waiting
    assert model.moves == ["load", "unload"]


async def test_hooks_go_together(here: Place) -> None:
    async with here.client("a").lease(memory=1, model="m") as lease:
        with pytest.raises(RuntimeError, match="pass both"):
            await lease.keep(object, offload=print)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"offload_model": classmethod(lambda cls, model: None)}, "an offload_model, but no restore_model"),
        ({"restore_model": classmethod(lambda cls, model, device: None)}, "a restore_model, but no offload_model"),
    ],
)
def test_a_class_with_one_of_the_hooks_is_refused(attributes: dict[str, Callable[..., Any]], message: str) -> None:
    load = {"load_model": classmethod(lambda cls, config, device: None)}
    body = {"process": _process, "gpu": Gpu(memory="1GiB"), "__annotations__": {"text": In[str], "out": Out[str]}}
    with pytest.raises(NodeDefinitionError, match=message):
        type("Half", (Node,), {**body, **load, **attributes})
    with pytest.raises(NodeDefinitionError, match="but no load_model"):
        type("Without", (Node,), {**body, **attributes})


async def _process(self: Node, context: Any) -> None: ...
