"""Node types for the tests of runs; node servers load this file as well. What they do in secret they write into a journal."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from lanemesh import Context, In, Inputs, Invokes, Node, Out, Outputs
from lanemesh.chat import ChatEvent, ChatFinish, ChatRequest, ChatText
from lanemesh.faults import Code, Fault, LaneFault, LanemeshError
from lanemesh.values import Usage
from pydantic import BaseModel


def note(journal: str, line: str) -> None:
    """Appends a line to a journal."""
    if journal:
        with Path(journal).open("a") as file:
            file.write(f"{line}\n")


def read(journal: str) -> str:
    """All that is in a journal."""
    return Path(journal).read_text()


class Tag(Node):
    """Puts a mark before each text, as it streams by."""

    class Config(BaseModel):
        mark: str = ""
        journal: str = ""

    text: In[str]
    tagged: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for piece in inputs.stream("text"):
            await outputs.emit("tagged", self.config.mark + piece)

    async def finalize(self, context: Context) -> None:
        note(self.config.journal, f"finalize {context.component}")


class Pass(Node):
    """Gives each text on, by a synchronous body."""

    text: In[str]
    passed: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"passed": self.text}


class Numbers(Node):
    """Emits numbers as text, on its own."""

    class Config(BaseModel):
        count: int = 10

    number: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for number in range(self.config.count):
            yield "number", str(number)


class Series(Node):
    """Emits numbers as text for each text that comes, padded to a size."""

    class Config(BaseModel):
        count: int = 10
        size: int = 0

    text: In[str]
    number: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for number in range(self.config.count):
            yield "number", str(number).ljust(self.config.size)


class TwoOutputs(Node):
    """Sends words by one output and their lengths, as text, by another."""

    text: In[str]
    words: Out[str]
    lengths: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for word in self.text.split():
            yield "words", word
            yield "lengths", str(len(word))


class TwoInputs(Node):
    """Pairs the words of one input with those of the other."""

    sync_mode = "zip_all"
    left: In[str]
    right: In[str]
    pair: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"pair": f"{self.left}={self.right}"}


class First(Node):
    """Takes some texts, and then no more."""

    class Config(BaseModel):
        count: int = 1

    text: In[str]
    first: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        left = self.config.count
        async for piece in inputs.stream("text"):
            await outputs.emit("first", piece)
            left -= 1
            if not left:
                return


class Quits(Node):
    """Takes nothing, and ends at once."""

    text: In[str]
    taken: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        await outputs.emit("taken", "none")


class Fail(Node):
    """Fails at a place of its life, after it has passed on what came before the text "bad"."""

    class Config(BaseModel):
        at: Literal["load", "process", "finalize"] = "process"

    text: In[str]
    passed: Out[str]

    @classmethod
    async def load(cls, config: Any) -> None:
        if config.at == "load":
            raise RuntimeError("no such model")

    async def process(self, context: Context) -> dict[str, Any]:
        if self.text == "bad" and self.config.at == "process":
            raise ValueError("a bad word")
        return {"passed": self.text}

    async def finalize(self, context: Context) -> None:
        if self.config.at == "finalize":
            raise OSError("cannot let go")


class FailSync(Node):
    """Fails in a worker thread."""

    text: In[str]
    passed: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        raise ValueError("a bad word")


class FailGenerating(Node):
    """Fails in the middle of a generator."""

    text: In[str]
    passed: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        yield "passed", "before"
        raise ValueError("a bad word")


class FailGeneratingSync(Node):
    """Fails in the middle of a synchronous generator."""

    text: In[str]
    passed: Out[str]

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        yield "passed", "before"
        raise ValueError("a bad word")


class FailRunning(Node):
    """Fails in `run`."""

    text: In[str]
    passed: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for _ in inputs.stream("text"):
            raise ValueError("a bad word")


class Hang(Node):
    """Waits for ever in a body of some kind, and writes down what happens to it."""

    class Config(BaseModel):
        body: Literal["async", "sync", "stubborn"] = "async"
        journal: str = ""

    text: In[str]
    passed: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        note(self.config.journal, f"begun {context.component}")
        yield "passed", "begun"
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if self.config.body != "stubborn":
                raise
        note(self.config.journal, f"side effect {context.component}")
        await asyncio.sleep(3600)

    async def finalize(self, context: Context) -> None:
        note(self.config.journal, f"finalize {context.component}")


class ExitsAsync(Node):
    """Would end the process."""

    text: In[str]
    passed: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        sys.exit(3)


class ExitsSync(Node):
    """Would end the process."""

    text: In[str]
    passed: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        sys.exit(3)


class HangSync(Node):
    """Waits in a worker thread until it is let go, heeding no cancellation."""

    released: ClassVar = threading.Event()

    class Config(BaseModel):
        journal: str = ""

    text: In[str]
    passed: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        note(self.config.journal, f"begun {context.component}")
        HangSync.released.wait(20)
        return {"passed": "too late"}

    async def finalize(self, context: Context) -> None:
        note(self.config.journal, f"finalize {context.component}")


class HangRunning(Node):
    """Takes no input and never ends."""

    text: In[str]
    passed: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        await asyncio.Event().wait()


class Emits(Node):
    """Emits as long as it may, and says what became of it."""

    class Config(BaseModel):
        journal: str = ""

    text: In[str]
    passed: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        try:
            while await outputs.emit("passed", "x"):
                pass
            note(self.config.journal, "told")
            while True:
                await outputs.emit("passed", "y")
        finally:
            note(self.config.journal, "closed")


class SlowLoad(Node):
    """Takes its time to load."""

    class Config(BaseModel):
        journal: str = ""
        seconds: float = 3600

    text: In[str]
    passed: Out[str]

    @classmethod
    async def load(cls, config: Any) -> None:
        note(config.journal, "loading")
        await asyncio.sleep(config.seconds)

    async def process(self, context: Context) -> dict[str, Any]:
        note(self.config.journal, "processed")
        return {"passed": self.text}


class Meet(Node):
    """Ends once its sibling has begun too: only if both run at the same time."""

    class Config(BaseModel):
        journal: str
        sibling: str

    text: In[str]
    met: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        note(self.config.journal, f"begun {context.component}")
        while f"begun {self.config.sibling}\n" not in read(self.config.journal):  # noqa: ASYNC110 - it may be another process
            await asyncio.sleep(0.005)
        return {"met": context.component}


class Sleeper(Node):
    """Sleeps in a synchronous body."""

    text: In[str]
    slept: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        time.sleep(float(self.text))
        return {"slept": "slept"}


class Talk(Node):
    """Logs, and reports its progress, more than anybody reads."""

    class Config(BaseModel):
        lines: int = 3
        thoughts: int = 0

    text: In[str]
    said: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for piece in inputs.stream("text"):
            for number in range(self.config.lines):
                context.log.info("line %d", number)
            for number in range(self.config.thoughts):
                await context.report_tool(f"{number}")
            await outputs.emit("said", piece)


class Oracle(Node):
    """A model that says yes."""

    offers: ClassVar = ("llm",)

    class Config(BaseModel):
        journal: str = ""

    async def chat(self, context: Context, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        yield ChatText("yes")
        yield Usage(0, 0)
        yield ChatFinish()


class Asker(Node):
    """Asks its model about each text, and says how many tools it has."""

    invokes: ClassVar = (Invokes("llm", 1, 1), Invokes("tool", 0, None))

    class Config(BaseModel):
        journal: str = ""

    text: In[str]
    said: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        note(self.config.journal, "asked")
        async for event in context.llm.stream(self.text):
            if isinstance(event, ChatText):
                yield "said", event.text
        yield "said", str(len(await context.tools.specs()))


class OnGpu(Node):
    """Holds a whole device for a while and writes down when."""

    class Config(BaseModel):
        journal: str = ""
        rounds: int = 3

    text: In[str]
    held: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        for _ in range(self.config.rounds):
            async with context.gpu.lease():
                note(self.config.journal, f"{time.monotonic_ns()} +{context.component}")
                await asyncio.sleep(0.01)
                note(self.config.journal, f"{time.monotonic_ns()} -{context.component}")
        return {"held": context.component}


class OnGpuSync(Node):
    """The same in a synchronous body."""

    class Config(BaseModel):
        journal: str = ""

    text: In[str]
    held: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        with context.gpu.lease() as lease:
            note(self.config.journal, f"{time.monotonic_ns()} +{context.component}")
            return {"held": lease.device.id}


class Announce(Node):
    """Publishes some messages for each text that comes, and emits how many subscribers got the last one, or what went wrong."""

    class Config(BaseModel):
        channel: str = "news"
        count: int = 1

    text: In[str]
    told: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        try:
            for number in range(self.config.count):
                got = await context.channels.publish(self.config.channel, {"text": self.text, "number": number})
        except LanemeshError as error:
            return {"told": error.fault.reason}
        return {"told": str(got)}


class Hear(Node):
    """Subscribes, says so, and emits what it hears, who published it first. With `deaf` it takes nothing until its input ends."""

    class Config(BaseModel):
        channel: str = "news"
        overflow: Literal["block", "drop_oldest"] = "block"
        limit: int = 256
        deaf: bool = False

    text: In[str]
    heard: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        config = self.config
        channels = context.channels
        async with channels.subscribe(config.channel, overflow=config.overflow, limit=config.limit) as subscription:
            await outputs.emit("heard", "ready")
            if config.deaf:
                async for _ in inputs.stream("text"):
                    pass
            try:
                async for publisher, message in subscription.with_publishers():
                    await outputs.emit("heard", f"{publisher}: {message['text']} {message['number']}")
            except LanemeshError as error:
                await outputs.emit("heard", error.fault.reason)
            await outputs.emit("heard", f"lost {subscription.dropped}")


class Forget(Node):
    """Subscribes without end, in a task that nobody ends."""

    tasks: ClassVar[list[asyncio.Task[None]]] = []

    text: In[str]
    done: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        subscription = await context.channels.subscribe("mesh:forgotten").open()

        async def listen() -> None:
            async for _ in subscription:
                pass

        self.tasks.append(asyncio.create_task(listen()))
        return {"done": "listening"}


class Total(Node):
    """Counts what comes, once all of it has come."""

    items: In[list[str]]
    total: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"total": str(len(self.items))}


class TotalRunning(Node):
    """The same, in `run`."""

    items: In[str]
    total: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        count = 0
        async for _ in inputs.stream("items"):
            count += 1
        await outputs.emit("total", str(count))


class OfTotal(Node):
    """Puts the total behind each item: all of them have to have come before the first can go on."""

    item: In[str]
    total: In[str]
    of: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"of": f"{self.item} of {self.total}"}


class AfterTotals(Node):
    """Takes the total of one input, and then each item of another, in `run`."""

    item: In[str]
    total: In[str]
    of: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        total = await inputs.first("total")
        async for item in inputs.stream("item"):
            await outputs.emit("of", f"{item} of {total}")


class Large(Node):
    """Emits texts of many bytes."""

    class Config(BaseModel):
        count: int = 8
        size: int = 1_048_576

    number: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for _ in range(self.config.count):
            yield "number", "x" * self.config.size


class Waits(Node):
    """Waits for the outside world, a line in the journal, before it takes its second item."""

    class Config(BaseModel):
        journal: str

    text: In[str]
    passed: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        first = True
        async for piece in inputs.stream("text"):
            await outputs.emit("passed", piece)
            if first:
                note(self.config.journal, "waits")
                while "go on\n" not in read(self.config.journal):  # noqa: ASYNC110 - it may be another process
                    await asyncio.sleep(0.01)
            first = False


class Later(Node):
    """Sends numbers as text once it has seen so many."""

    class Config(BaseModel):
        count: int = 10

    text: In[str]
    number: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        seen = 0
        async for _ in inputs.stream("text"):
            seen += 1
            if seen == self.config.count:
                for number in range(seen):
                    await outputs.emit("number", str(number))


class FailAgain(Node):
    """Fails over "bad", and with an error of its own over whatever its producer failed with."""

    text: In[str]
    passed: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        try:
            async for piece in inputs.stream("text"):
                if piece == "bad":
                    raise ValueError("a bad word")
                await outputs.emit("passed", piece)
        except LanemeshError as error:
            raise RuntimeError("what came was no good") from error


class BreakLane(Node):
    """Passes texts on, and at "break" fails with nothing but a consequence of something elsewhere."""

    text: In[str]
    passed: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for piece in inputs.stream("text"):
            if piece == "break":
                raise LaneFault(Fault(code=Code.UNAVAILABLE, reason="lane-broken", message="it broke", secondary=True))
            await outputs.emit("passed", piece)


class Clock(Node):
    """A model that says how much time is left."""

    offers: ClassVar = ("llm",)

    async def chat(self, context: Context, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        yield ChatText(str(context.time_left))
        yield ChatFinish()


class FailAfter(Node):
    """Fails once it is told to."""

    class Config(BaseModel):
        journal: str

    text: In[str]
    passed: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        while "fail\n" not in read(self.config.journal):  # noqa: ASYNC110 - it may be another process
            await asyncio.sleep(0.01)
        raise ValueError("late")


class Silent(Node):
    """A model that says nothing."""

    offers: ClassVar = ("llm",)

    async def chat(self, context: Context, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        await asyncio.Event().wait()
        yield ChatFinish()
