"""Plain generators: one thread and one context each, every value at once, and a bound on how far they run ahead."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from lanemesh import Context, In, Node, Out
from lanemesh._aio.generators import MAX_AHEAD
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.node.firing.loop import FiringRules, Firings
from lanemesh.node.firing.on_error import OnError, OnErrorPolicy
from lanemesh.node.outputs import OutputLanes, Outputs
from lanemesh.node.runtime.actor import Actor, State
from lanemesh.testing import run_node, run_node_async

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")
LOCAL = threading.local()
NUMBERS = [str(number) for number in range(300)]


@pytest.fixture(params=["the loop of plain firings", "the general loop"], autouse=True)
def firing_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both loops do the same."""
    if request.param == "the general loop":
        monkeypatch.setattr(Firings, "_plain_firings", lambda self, connected: None)


class Numbers(Node):
    """The base of the generators: the text of the firing, and its values."""

    text: In[str]
    out: Out[str]


class Localcontext(Numbers):
    """Divides with a precision of its own."""

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        with decimal.localcontext() as local:
            local.prec = 3 + int(self.text) % 5
            for divisor in (3, 7, 9):
                yield "out", str(decimal.Decimal(1) / divisor)


class Resetting(Numbers):
    """Sets a variable, and resets it at its end."""

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        assert VARIABLE.get() == ""
        token = VARIABLE.set(self.text)
        try:
            for _ in range(3):
                yield "out", VARIABLE.get()
        finally:
            VARIABLE.reset(token)


class Connected(Numbers):
    """Reads from a database that only the thread of the connection may use."""

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        connection = sqlite3.connect(":memory:")
        try:
            connection.execute("create table numbers (number text)")
            connection.executemany("insert into numbers values (?)", [(self.text,)] * 3)
            for (number,) in connection.execute("select number from numbers"):
                yield "out", number
        finally:
            connection.close()


class Local(Numbers):
    """Keeps its text in the thread."""

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        LOCAL.text = self.text
        for _ in range(3):
            yield "out", LOCAL.text


def divided(text: str) -> list[str]:
    """What `Localcontext` yields."""
    with decimal.localcontext() as local:
        local.prec = 3 + int(text) % 5
        return [str(decimal.Decimal(1) / divisor) for divisor in (3, 7, 9)]


@pytest.mark.conformance("FIRE-23")
@pytest.mark.parametrize("settings", [{}, {"timeout": 60}, {"concurrency": 4}], ids=str)
@pytest.mark.parametrize("node_class", [Localcontext, Resetting, Connected, Local])
async def test_a_generator_has_one_thread_and_one_context(node_class: type[Node], settings: dict[str, Any]) -> None:
    result = await run_node_async(node_class, text=NUMBERS, **settings)
    expected = [divided(text) if node_class is Localcontext else [text] * 3 for text in NUMBERS]
    assert result.out == [value for values in expected for value in values]
    assert result.firings == len(NUMBERS)


@pytest.mark.conformance("FIRE-13")
@pytest.mark.parametrize("generates", [False, True])
@pytest.mark.parametrize("lane", ["text", "data"])
def test_no_variable_passes_from_one_firing_to_the_next(generates: bool, lane: str) -> None:
    def process(self: Any, context: Context) -> Any:
        found = VARIABLE.get()
        VARIABLE.set(self.text)
        return {"out": found}

    def gen_process(self: Any, context: Context) -> Iterator[tuple[str, str]]:
        yield "out", VARIABLE.get()
        VARIABLE.set(self.text)

    declared: Any = In
    ports = {"text": declared[str if lane == "text" else Any], "out": Out[str]}
    body = {"gen_process": gen_process} if generates else {"process": process}
    node_class = type("Leaks", (Node,), {"__module__": __name__, "__annotations__": ports, **body})
    assert run_node(node_class, text=NUMBERS).out == [""] * len(NUMBERS)


class Rig:
    """An actor between lanes of which the test takes."""

    def __init__(self, node: Node, texts: list[str], *, limit: int = 1000, policy: OnErrorPolicy | None = None) -> None:
        async def unheard(_: object) -> None:
            """Takes a report."""

        self.context = Context(run_id="r", component="n", provider="n", report=unheard)
        inbox, self.taken = Inbox(["text"]), Inbox(["out"])
        edge = inbox.add_edge("in", "text")
        for text in texts:
            edge.put(text, len(text), None)
        edge.end()
        self.edge = self.taken.add_edge("out", "out", limit_items=limit)
        outputs = Outputs(
            "n", {"out": OutputLanes("n.out", LaneType.TEXT, [MemorySender(self.edge)])}, waits=self.context.waits
        )
        rules = FiringRules(sync_mode="on_any", on_error=OnError(policy=policy or OnErrorPolicy.FAIL, attempts=3))
        self.actor = Actor(node, self.context, inbox, outputs, rules)
        self.values = self.taken.stream("out")
        self.running = asyncio.create_task(self.actor.run())


@pytest.mark.conformance("FIRE-24")
@pytest.mark.parametrize("before", [0, 1, 200])
async def test_each_value_is_sent_before_the_next_one_exists(before: int) -> None:
    """Also when many quick firings and values have come before, in the same firing and in earlier ones."""
    seen = threading.Event()

    class Waits(Numbers):
        def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
            for _ in range(before):
                yield "out", "quick"
            if self.text == "slow":
                yield "out", "first"
                assert seen.wait(10)
                yield "out", "second"

    rig = Rig(Waits(), [*"abcdefgh", "slow"], limit=10_000)
    async with asyncio.timeout(20):
        async for value in rig.values:
            if value == "first":
                seen.set()
        assert (await rig.running).state is State.COMPLETED
    assert value == "second"


@pytest.mark.conformance("FIRE-24")
def test_each_value_is_sent_as_it_was_when_it_was_yielded() -> None:
    """Although the generator changes the same object before each yield."""

    class Changes(Node):
        text: In[str]
        out: Out[dict[str, Any]]

        def gen_process(self, context: Context) -> Iterator[tuple[str, Any]]:
            value: dict[str, Any] = {"text": self.text, "seen": []}
            for number in range(20):
                value["seen"].append(number)
                yield "out", value

    seen = [list(range(number + 1)) for number in range(20)]
    expected = [{"text": text, "seen": numbers} for text in NUMBERS[:10] for numbers in seen]
    assert run_node(Changes, text=NUMBERS[:10]).out == expected


@pytest.mark.conformance("FIRE-24")
@pytest.mark.parametrize("each", [1, 3, 100_000])
async def test_a_generator_whose_output_is_full_stops_at_its_bound(each: int) -> None:
    """Over all its firings: what was yielded is at its consumer, on the lane, or one of MAX_AHEAD values."""
    yielded = taken = most = 0
    limit = 4

    class Counts(Numbers):
        def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
            nonlocal yielded, most
            for _ in range(each):
                yielded += 1
                most = max(most, yielded - taken)
                yield "out", "x"

    rig = Rig(Counts(), [*NUMBERS, *NUMBERS], limit=limit)
    async with asyncio.timeout(20):
        async for _ in rig.values:
            taken += 1
            if taken == 600:
                break
        rig.taken.stop("enough")
        assert (await rig.running).state is State.COMPLETED
    assert most <= 1 + limit + MAX_AHEAD


@pytest.mark.conformance("FIRE-24")
@pytest.mark.parametrize("count", [0, 1, 70])
@pytest.mark.parametrize("policy", OnErrorPolicy)
def test_an_error_comes_after_the_values_and_only_a_firing_that_has_sent_none_is_retried(
    count: int, policy: OnErrorPolicy
) -> None:
    begun: list[str] = []

    class Breaks(Numbers):
        def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
            begun.append(self.text)
            for _ in range(count):
                yield "out", self.text
            if self.text == "b" and len(begun) < 4:
                raise ValueError("broken")

    on_error: Any = {"retry": {"attempts": 3}} if policy is OnErrorPolicy.RETRY else policy.value
    result = run_node(Breaks, text=list("abc"), on_error=on_error, raises=False)
    retried = policy is OnErrorPolicy.RETRY and not count
    goes_on = retried or policy is OnErrorPolicy.SKIP
    assert (result.state, result.out) == (
        State.COMPLETED if goes_on else State.FAILED,
        [text for text in ("abc" if goes_on else "ab") for _ in range(count)],
    )
    assert begun == list("abbbc" if retried else "abc" if goes_on else "ab")


@pytest.mark.conformance("RUN-06")
@pytest.mark.parametrize("policy", [OnErrorPolicy.FAIL, OnErrorPolicy.SKIP])
@pytest.mark.parametrize("before", [0, 2])
async def test_a_value_that_is_refused_closes_its_generator_alone(policy: OnErrorPolicy, before: int) -> None:
    begun: list[str] = []
    closed: list[str] = []

    class Refused(Numbers):
        def gen_process(self, context: Context) -> Iterator[tuple[str, Any]]:
            begun.append(self.text)
            try:
                for _ in range(before):
                    yield "out", self.text
                yield "out", 5 if self.text == "77" else self.text
                yield "out", self.text
            except GeneratorExit:
                closed.append(self.text)
                raise

    rig = Rig(Refused(), NUMBERS, limit=10_000, policy=policy)
    async with asyncio.timeout(20):
        values = [value async for value in rig.taken.stream("out", raising=False)]
        outcome = await rig.running
    bad = NUMBERS.index("77")
    good = NUMBERS if policy is OnErrorPolicy.SKIP else NUMBERS[:bad]
    expected = [text for text in good for _ in range(before if text == "77" else before + 2)]
    assert values == (expected if policy is OnErrorPolicy.SKIP else expected + ["77"] * before)
    assert outcome.state is (State.COMPLETED if policy is OnErrorPolicy.SKIP else State.FAILED)
    assert len(begun) == len(set(begun))  # none ran twice
    assert set(closed) <= {"77", begun[-1]}


@pytest.mark.conformance("LANE-08")
@pytest.mark.parametrize("taken", [1, 3, 40, 150])
async def test_a_generator_whose_consumer_has_ended_is_closed_in_its_thread(taken: int) -> None:
    threads: list[int] = []

    class Endless(Numbers):
        def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
            threads.append(threading.get_ident())
            try:
                while True:
                    yield "out", "x"
            finally:
                threads.append(threading.get_ident())

    rig = Rig(Endless(), ["a", "b"], limit=2)
    async with asyncio.timeout(20):
        for _ in range(taken):
            await anext(rig.values)
        rig.taken.stop("enough")
        assert (await rig.running).state is State.COMPLETED
    assert len(threads) == 2
    assert threads[0] == threads[1]


@pytest.mark.conformance("RUN-07")
async def test_a_cancellation_closes_a_generator_that_waits_for_capacity() -> None:
    closed = threading.Event()

    class Endless(Numbers):
        def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
            try:
                while True:
                    yield "out", "x"
            finally:
                closed.set()

    rig = Rig(Endless(), ["a"], limit=2)
    blocked = asyncio.Event()
    rig.context.waits.on_blocked = blocked.set
    async with asyncio.timeout(20):
        await blocked.wait()
        rig.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rig.running
    assert closed.is_set()
    assert not rig.actor.abandoned
