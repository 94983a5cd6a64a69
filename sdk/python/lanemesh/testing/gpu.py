"""A family of node types that use simulated devices as models do: they load, work, fragment, leak, lie and run out of memory.

For tests and examples on machines without a GPU: `LANEMESH_GPUS="sim:0=24GiB"`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

from pydantic import Field

from lanemesh.gpu.simulated import Allocation, simulated_memory
from lanemesh.node.context import Context
from lanemesh.node.gpu import Gpu
from lanemesh.node.node import Node
from lanemesh.node.ports import In, Out


class SimulatedConfig(Node.Config):
    """What a simulated model declares, and what it really does."""

    memory: str = Field("1GiB", description="The declared memory of the model.")
    peak: str = Field("", description="The declared peak; empty: `memory`.")
    real_memory: str = Field("", description="The memory that the model really takes; empty: what is declared.")
    real_peak: str = Field(
        "", description="The memory that a firing really takes, with the model; empty: what is declared."
    )
    seconds: float = Field(0.0, description="How long a firing works.")
    load_seconds: float = Field(0.0, description="How long the model loads.")
    leak: str = Field("", description="Memory that each firing does not free.")
    contiguous: bool = Field(False, description="A firing needs its memory in one piece.")
    unload: str = Field("frees", description='What unloading does: "frees", "raises" without freeing, or "hangs".')
    offload: str = Field(
        "frees",
        description='What offloading does: "frees", "raises" without freeing, "hangs", or "lies": frees nothing.',
    )
    name: str = Field("", description="Distinguishes models with the same settings.")


class SimulatedModel:
    """A model that is loaded on a simulated device."""

    def __init__(self, config: SimulatedConfig, device: str) -> None:
        """Raises OutOfMemory if the device has not enough memory."""
        self.config = config
        self.device = device
        self._memory = simulated_memory()
        self.weights = self._memory.allocate(device, config.real_memory or config.memory)

    def offload(self) -> None:
        """Moves the weights to host memory."""
        self.weights.free()

    def restore(self) -> None:
        """Moves them back. Raises OutOfMemory."""
        self.weights = self._memory.allocate(self.device, self.weights.size)

    def work(self, stack: ExitStack, context: Context) -> Allocation:
        """The memory of a firing, which the stack frees; reports what is used. Raises OutOfMemory."""
        config = self.config
        wanted = size(config.real_peak or config.peak or config.memory) - self.weights.size
        block = self._memory.allocate(self.device, max(wanted, 0), contiguous=config.contiguous)
        stack.callback(block.free)
        for lease in context.gpu.held:
            lease.report_use(self.weights.size + block.size)
        if config.leak:
            self._memory.allocate(self.device, config.leak)
        return block


def size(text: str) -> int:
    """Bytes of a text such as "6GiB"."""
    from lanemesh.gpu.devices import size_of

    return size_of(text)


class _Simulated(Node):
    """What simulated models share."""

    gpu = Gpu(memory=lambda config: config.memory, peak=lambda config: config.peak or 0)
    Config = SimulatedConfig  # type: ignore[assignment]

    @classmethod
    async def load_model(cls, config: Any, device: str) -> SimulatedModel:
        """Loads the model on a device."""
        await asyncio.sleep(config.load_seconds)
        return SimulatedModel(config, device)

    @classmethod
    async def unload_model(cls, model: SimulatedModel) -> None:
        """Frees the model, or not, by its config."""
        if model.config.unload == "raises":
            raise RuntimeError("the simulated model does not unload")
        if model.config.unload == "hangs":
            await asyncio.Event().wait()
        model.weights.free()

    @classmethod
    async def offload_model(cls, model: SimulatedModel) -> None:
        """Moves the model to host memory, or not, by its config."""
        if model.config.offload == "raises":
            raise RuntimeError("the simulated model is not offloaded")
        if model.config.offload == "hangs":
            await asyncio.Event().wait()
        await asyncio.sleep(model.config.load_seconds)
        if model.config.offload != "lies":
            model.offload()

    @classmethod
    async def restore_model(cls, model: SimulatedModel, device: str) -> None:
        """Moves the model back to the device."""
        await asyncio.sleep(model.config.load_seconds)
        if model.config.offload != "lies":
            model.restore()


class GpuSimulated(_Simulated):
    """Answers each text with one text, as an image model or a recogniser of speech would."""

    text: In[str]
    answer: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        with ExitStack() as stack:
            self.gpu_model.work(stack, context)
            await asyncio.sleep(self.config.seconds)
        return {"answer": f"{context.component}: {self.text}"}


class GpuSimulatedStream(_Simulated):
    """Answers each text word by word, as a language model would."""

    text: In[str]
    answer: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        with ExitStack() as stack:
            self.gpu_model.work(stack, context)
            for word in self.text.split():
                await asyncio.sleep(self.config.seconds)
                yield "answer", word
