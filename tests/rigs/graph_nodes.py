"""Node types for random pipelines; node servers load this file as well.

What a node emits is a pure function of its component, its config and the values that it fires on (`emissions`), so that a
reference can say what has to come. A node whose order of firing is open tells each firing on its output `trace`, before anything
else of it.

A type's name says its body and its inputs, as in `gen_sync_a_bo_cl`: a synchronous generator with the required input `a`, the
optional `b` and the list `c`. `aw` is a required input that gets wholes; `pieces` are generators that send them in pieces.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from lanemesh import Context, In, Inputs, Node, Out, Outputs, Pieces, Whole
from pydantic import BaseModel

Values = Mapping[str, Any]
"""What a firing sees, by input: a text, None, or a list of texts."""

SIGNATURES = ("a", "ao", "al", "a_b", "a_bo", "ao_bo", "a_bl", "al_bl", "a_b_c", "a_bo_cl", "a_b_co", "aw", "aw_b")
"""The sets of inputs that there are, as they stand in names."""
BODIES = ("process", "process_sync", "gen", "gen_sync")
"""The ways to fire."""


class Broken(Exception):
    """What a failing firing raises."""


def key_of(component: str, values: Values) -> int:
    """A number that stands for one firing."""
    told = "|".join(f"{name}={values[name]}" for name in sorted(values))
    return zlib.crc32(f"{component}:{told}".encode())


def trace_of(values: Values) -> str:
    """A firing as it is told on `trace`."""
    return "|".join(",".join(v) if isinstance(v, list) else "-" if v is None else v for _, v in sorted(values.items()))


def emissions(
    component: str, settings: Any, values: Values, *, many: bool, pieces: bool = False
) -> list[tuple[str, str]]:
    """What one firing emits, without its trace. `many`: it is a generator; `pieces`: one that sends the pieces of a whole."""
    key = key_of(component, values)
    if pieces:
        return [("out", f"{component}+{key:08x}.{number}") for number in range(key % (settings.fan + 1))]
    if not many:
        out = [] if settings.drop and key % settings.drop == 0 else [("out", f"{component}-{key:08x}")]
        return [*out, ("alt", f"{component}~{key:08x}")] if key % 2 else out
    return [
        ("alt" if number % 3 == 2 else "out", f"{component}-{key:08x}.{number}")
        for number in range(key % (settings.fan + 1))
    ]


def fails(component: str, settings: Any, values: Values) -> bool:
    """Whether a firing fails, at first at least."""
    return bool(settings.fail) and key_of(component, values) % settings.fail == 0


_ATTEMPTS: Counter[tuple[str, str, int]] = Counter()
"""Failed attempts of firings, by run, component and key."""


class Acting(Node):
    """What all of them have in common."""

    class Config(BaseModel):
        """How a node behaves."""

        drop: int = 0
        """A `process` emits nothing on `out` for keys that this divides; 0: never."""
        fan: int = 1
        """A generator emits up to so many items."""
        fail: int = 0
        """A firing fails for keys that this divides; 0: never."""
        late: bool = False
        """A failing firing of a generator has emitted something before."""
        flaky: int = 0
        """So many attempts of such a firing fail; 0: all of them."""
        count: int = 0
        """A source emits so many items, `take` takes so many."""
        pause: float = 0.0
        """Up to three times so many seconds a firing takes."""

    out: Out[str]
    alt: Out[str]
    trace: Out[str]

    def values(self) -> dict[str, Any]:
        """What this firing sees."""
        return {name: getattr(self, name) for name in type(self).inputs_}

    def pause(self, context: Context, values: Values) -> float:
        """How many seconds this firing takes: concurrent ones end out of order."""
        return float(self.config.pause) * (key_of(context.component, values) % 4)

    def check(self, context: Context, values: Values) -> None:
        """Raises Broken if this attempt is to fail."""
        if not fails(context.component, self.config, values):
            return
        attempt = context.run_id, context.component, key_of(context.component, values)
        _ATTEMPTS[attempt] += 1
        if not self.config.flaky or _ATTEMPTS[attempt] <= self.config.flaky:
            raise Broken(f"{context.component} is broken")


def _result(node: Any, context: Context) -> dict[str, Any]:
    values = node.values()
    node.check(context, values)
    sent: dict[str, Any] = {"trace": trace_of(values)}
    sent.update(emissions(context.component, node.config, values, many=False))
    return sent


def _pairs(node: Any, context: Context) -> Iterator[tuple[str, str]]:
    values = node.values()
    if not node.config.late:
        node.check(context, values)
    yield "trace", trace_of(values)
    for number, pair in enumerate(
        emissions(context.component, node.config, values, many=True, pieces=isinstance(node, PiecesA | PiecesSyncA))
    ):
        if number and node.config.late:
            node.check(context, values)
        yield pair
    if node.config.late:
        node.check(context, values)


async def _process(self: Any, context: Context) -> dict[str, Any]:
    await asyncio.sleep(self.pause(context, self.values()))
    return _result(self, context)


def _process_sync(self: Any, context: Context) -> dict[str, Any]:
    time.sleep(self.pause(context, self.values()))
    return _result(self, context)


async def _gen(self: Any, context: Context) -> AsyncIterator[tuple[str, str]]:
    for pair in _pairs(self, context):
        yield pair
        await asyncio.sleep(self.pause(context, self.values()))


def _gen_sync(self: Any, context: Context) -> Iterator[tuple[str, str]]:
    for pair in _pairs(self, context):
        yield pair
        time.sleep(self.pause(context, self.values()))


_METHODS: dict[str, tuple[str, Any]] = {
    "process": ("process", _process),
    "process_sync": ("process", _process_sync),
    "gen": ("gen_process", _gen),
    "gen_sync": ("gen_process", _gen_sync),
}
_IN: Any = In
_ANNOTATIONS: dict[str, Any] = {"": _IN[str], "o": _IN[str | None], "l": _IN[list[str]], "w": _IN[Whole[str]]}


def _define(body: str, signature: str) -> None:
    provider = f"{body}_{signature}"
    inputs = signature.split("_")
    method, function = _METHODS[body]
    members: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"Fires by {body} on {signature}.",
        "__annotations__": {name[0]: _ANNOTATIONS[name[1:]] for name in inputs},
        "provider": provider,
        method: function,
        **{name[0]: None for name in inputs if name[1:] == "o"},
    }
    globals()[provider] = type(provider, (Acting,), members)


for _body in BODIES:
    for _signature in SIGNATURES:
        _define(_body, _signature)


class PiecesA(Acting):
    """A generator whose items of one firing are the pieces of one whole."""

    a: In[str]
    out: Out[Pieces[str]]
    gen_process = _gen


class PiecesSyncA(Acting):
    """The same in a synchronous body."""

    a: In[str]
    out: Out[Pieces[str]]
    gen_process = _gen_sync


class Source(Acting):
    """Emits items on its own."""

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for number in range(self.config.count):
            yield "out", f"{context.component}-{number}"
            await asyncio.sleep(self.config.pause)


class SourceSync(Acting):
    """Emits items on its own, from a thread."""

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        for number in range(self.config.count):
            yield "out", f"{context.component}-{number}"


class Once(Acting):
    """Emits one item on its own."""

    async def process(self, context: Context) -> dict[str, Any]:
        return {"out": f"{context.component}-0"}


class Endless(Acting):
    """Emits items for as long as anybody takes them."""

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        number = 0
        while True:
            yield "out", f"{context.component}-{number}"
            number += 1


class Relay(Acting):
    """Emits what comes of each item as it comes."""

    a: In[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for value in inputs.stream("a"):
            await self.pass_on(context, outputs, {"a": value})

    async def pass_on(self, context: Context, outputs: Outputs, values: Values) -> None:
        """Emits what comes of one item, its trace first."""
        self.check(context, values)
        await asyncio.sleep(self.pause(context, values))
        await outputs.emit("trace", trace_of(values))
        for port, value in emissions(context.component, self.config, values, many=False):
            await outputs.emit(port, value)


class Take(Relay):
    """Takes some items, and then no more."""

    a: In[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        left = self.config.count
        async for value in inputs.stream("a"):
            await self.pass_on(context, outputs, {"a": value})
            left -= 1
            if left <= 0:
                return


class Gather(Relay):
    """Takes all items, then emits what comes of all of them."""

    a: In[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        await self.pass_on(context, outputs, {"a": [value async for value in inputs.stream("a")]})


class Merge(Relay):
    """Takes items from both inputs in the order in which they arrive."""

    a: In[str]
    b: In[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for port, value in inputs.iter_any():
            await self.pass_on(context, outputs, {"a": None, "b": None, port: value})


class Phased(Relay):
    """Takes all of one input, and then all of the other."""

    a: In[str]
    b: In[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        for port in ("a", "b"):
            async for value in inputs.stream(port):
                await self.pass_on(context, outputs, {"a": None, "b": None, port: value})
