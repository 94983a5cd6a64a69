"""Nodes for tests of lanes: puppets that do what a test tells them, and a few that only do what their config says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from lanemesh import Answer, Context, In, Inputs, Node, Out, Outputs, Pieces, Service, Whole
from lanemesh._aio.signal import Signal
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.lanes.inbox.inbox import Inbox
from pydantic import BaseModel


class Leave(Exception):
    """Raised by what a puppet is told to do: the puppet's `run` returns."""


@dataclass
class Stage:
    """What a puppet plays on, and where it notes what others may look at meanwhile."""

    context: Context
    inputs: Inputs
    outputs: Outputs
    notes: dict[str, Any] = field(default_factory=dict)
    noting: Signal = field(default_factory=Signal)

    leaving: Exception | None = None
    """Ends the body once the act that set it is over."""

    def note(self, what: str, value: Any) -> None:
        """Notes something that others wait for."""
        self.notes[what] = value
        self.noting.fire()

    @property
    def inbox(self) -> Inbox:
        """The consumer ends of its lanes."""
        return self.inputs._inbox


Act = Callable[..., Awaitable[Any]]


class Strings:
    """What moves one puppet: acts are done one after the other inside its `run`; looks are taken beside it."""

    def __init__(self) -> None:
        self.stage: asyncio.Future[Stage] = asyncio.get_running_loop().create_future()
        self.body: asyncio.Task[Any] | None = None
        self.acts: asyncio.Queue[tuple[Act, tuple[Any, ...], asyncio.Future[Any]]] = asyncio.Queue()

    async def act(self, act: Act, *args: Any) -> Any:
        """Has something done by the puppet's body, and returns what that returns or raises what it raises."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.body is not None and self.body.done():
            raise Interrupted("the body has ended")
        self.acts.put_nowait((act, args, done))
        return await done

    async def look(self, act: Act, *args: Any) -> Any:
        """Has something done while the body may be busy with an act."""
        return await act(await self.stage, *args)

    async def play(self, stage: Stage) -> None:
        """The puppet's body."""
        self.body = asyncio.current_task()
        self.stage.set_result(stage)
        try:
            await self._play(stage)
        finally:
            while not self.acts.empty():
                self.acts.get_nowait()[2].set_exception(Interrupted("the body has ended"))

    async def _play(self, stage: Stage) -> None:
        while True:
            act, args, done = await self.acts.get()
            try:
                result = await act(stage, *args)
            except Leave as leave:
                done.set_result(None)
                if leave.__cause__ is not None:
                    raise leave.__cause__ from None
                return
            except BaseException as error:
                if not done.done():
                    told = Interrupted(repr(error)) if isinstance(error, asyncio.CancelledError) else error
                    done.set_exception(told)
                if not isinstance(error, Exception):
                    raise
                if stage.leaving is not None:
                    raise stage.leaving from None
            else:
                done.set_result(result)


class Interrupted(Exception):
    """An act was cancelled."""


STRINGS: dict[tuple[str, str], Strings] = {}
"""The puppets of this process by run and component."""


def strings(run_id: str, component: str) -> Strings:
    """The strings of a puppet, which may have yet to be placed."""
    return STRINGS.setdefault((run_id, component), Strings())


class Puppet(Node):
    """Does what a test tells it."""

    values: In[Any] = None
    others: In[Any] = None
    more: In[Any] = None
    out: Out[Any]
    side: Out[Any]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Plays until told to leave."""
        await strings(context.run_id, context.component).play(Stage(context, inputs, outputs))


class WholePuppet(Puppet):
    """One whose texts are whole."""

    texts: In[Whole[str]] = ""


class Answerer(Node):
    """Fires once per whole answer, beside texts as they come."""

    answer: In[Whole[Answer]]
    out: Out[Any]

    def process(self, context: Context) -> dict[str, Any]:
        """Tells what it got."""
        return {"out": [self.answer.text, self.answer.finish_reason]}


class Gatherer(Node):
    """Collects lists, of pieces and of wholes, beside a stream."""

    pieces: In[list[str]]
    wholes: In[list[Whole[str]]]
    one: In[str] = ""
    out: Out[Any]

    def process(self, context: Context) -> dict[str, Any]:
        """Tells what it got."""
        return {"out": [self.one, self.pieces, self.wholes]}


class Speaker(Node):
    """Says each text letter by letter, and chokes on an exclamation mark."""

    text: In[str] = "ab!"
    out: Out[Pieces[str]]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        """Says it."""
        for letter in self.text:
            if letter == "!":
                raise ValueError("no shouting")
            yield "out", letter


class Fountain(Node):
    """A generator that never ends by itself, and notes how it ended."""

    class Config(BaseModel):
        """Settings."""

        size: int = 10
        """Characters of each text."""

    out: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        """Emits texts until it is closed."""
        key = (context.run_id, context.component)
        text = "x" * self.config.size
        try:
            while True:
                yield "out", text
        finally:
            CLOSED.add(key)


CLOSED: set[tuple[str, str]] = set()
"""The fountains of this process that were closed."""


class Pump(Node):
    """Emits texts until that fails or nobody wants them, and notes what it saw."""

    class Config(BaseModel):
        """Settings."""

        size: int = 10
        """Characters of each text."""

    out: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Emits until told not to."""
        text = "x" * self.config.size
        try:
            while await outputs.emit("out", text):
                pass
        except LanemeshError as error:
            SEEN[context.run_id, context.component] = error.fault


SEEN: dict[tuple[str, str], Fault] = {}
"""What the pumps of this process saw."""


class Sip(Node):
    """Takes some items, and then has enough or fails."""

    class Config(BaseModel):
        """Settings."""

        items: int
        """How many it takes."""
        fails: bool = False
        """It fails rather than returns."""

    values: In[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Takes, then leaves."""
        taken = 0
        async with contextlib.aclosing(inputs.stream("values")) as values:
            async for _ in values:
                taken += 1
                if taken >= self.config.items:
                    break
        if self.config.fails:
            raise LanemeshError(
                Fault(code=Code.RESOURCE_EXHAUSTED, reason="had-enough", message=f"no more than {taken}, please")
            )


SERVICE = Service("lane_tests", [Puppet, WholePuppet, Answerer, Gatherer, Speaker, Fountain, Pump, Sip])
