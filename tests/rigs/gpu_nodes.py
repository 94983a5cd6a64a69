"""Node types that use simulated devices, and the same under a global lock, as some systems have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from lanemesh import Context, Gpu, In, Node, Out
from lanemesh.testing.gpu import GpuSimulated, GpuSimulatedStream, SimulatedConfig

from rigs.gpu import STUCK_BEGUN, STUCK_MAY_END

LOCK = asyncio.Lock()
"""One for all users of the GPU."""


class ImageModel(GpuSimulated):
    """Draws a picture, described by a text."""


class SpeechModel(GpuSimulated):
    """Writes down what is said."""


class LanguageModel(GpuSimulatedStream):
    """Writes an answer word by word."""


class GpuCount(Node):
    """Counts to the number in a text, on a GPU that it has for itself."""

    gpu = Gpu()
    text: In[str]
    number: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for number in range(int(self.text)):
            yield "number", str(number)


class GpuEcho(Node):
    """Passes texts on, on a GPU that it has for itself."""

    gpu = Gpu()
    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        return {"out": self.text}


class GpuStuck(Node):
    """Uses a GPU in a thread, whether it is cancelled or not."""

    gpu = Gpu()
    text: In[str]
    out: Out[str]

    def process(self, context: Context) -> dict[str, str]:
        STUCK_BEGUN.set()
        STUCK_MAY_END.wait()
        return {"out": self.text}


class GpuStuckSteps(Node):
    """The same in a step of a generator."""

    gpu = Gpu()
    text: In[str]
    out: Out[str]

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        STUCK_BEGUN.set()
        STUCK_MAY_END.wait()
        yield "out", self.text


class LockedCount(Node):
    """Counts under one lock for all users of the GPU, which is held while it emits."""

    text: In[str]
    number: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        async with LOCK:
            for number in range(int(self.text)):
                yield "number", str(number)


class LockedEcho(Node):
    """Passes texts on under that lock."""

    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        async with LOCK:
            return {"out": self.text}


class LockedImageModel(Node):
    """An image model under that lock, as `GpuSimulated`."""

    Config = SimulatedConfig  # type: ignore[assignment]
    text: In[str]
    answer: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        async with LOCK:
            return {"answer": f"{context.component}: {self.text}"}


class LockedLanguageModel(Node):
    """A language model under that lock, which is held while it emits."""

    Config = SimulatedConfig  # type: ignore[assignment]
    text: In[str]
    answer: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        async with LOCK:
            for word in self.text.split():
                yield "answer", word
