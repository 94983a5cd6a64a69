"""Firings beyond when they come: several in a hop, several at once, failed ones, endless ones, peeks."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar
from weakref import WeakSet

import pytest
from lanemesh import Context, Image, In, Inputs, LanemeshError, Node, Out, Outputs
from lanemesh._aio.threads import MAX_HOP, HopSize, Threads
from lanemesh.faults import Code, Fault
from lanemesh.items import FILE_NAME, Envelope, LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.node.firing.loop import FiringRules
from lanemesh.node.firing.on_error import OnError, OnErrorPolicy
from lanemesh.node.outputs import OutputLanes
from lanemesh.node.runtime.actor import Actor, State
from lanemesh.testing import run_node, run_node_async


class Rig:
    """An actor between lanes that the test holds."""

    def __init__(
        self, node: Node, rules: FiringRules | None = None, *, limit: int = 1000, timeout: float | None = None
    ) -> None:
        async def unheard(_: object) -> None:
            """Takes a report."""

        self.context = Context(run_id="r", component="n", provider=node.provider, report=unheard)
        self.inbox, self.taken = Inbox(node.inputs_), Inbox(node.outputs_)
        self.edges = {name: self.inbox.add_edge(name, name, limit_items=limit) for name in node.inputs_}
        feeds = {
            name: OutputLanes(name, node.inputs_[name].lane_type or LaneType.DATA, [MemorySender(edge)])
            for name, edge in self.edges.items()
        }
        self.feed = Outputs("test", feeds)
        lanes = {
            name: OutputLanes(
                name,
                spec.lane_type or LaneType.DATA,
                [MemorySender(self.taken.add_edge(name, name, limit_items=limit))],
            )
            for name, spec in node.outputs_.items()
        }
        self.outputs = Outputs("n", lanes)
        self.actor = Actor(node, self.context, self.inbox, self.outputs, rules, timeout=timeout)


class Worker(Node):
    """Notes the thread's hop by the time between its bodies; "slow" waits for the gate."""

    gate: ClassVar = threading.Event()
    begun: ClassVar = threading.Event()
    text: In[str]
    done: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        if self.text == "slow":
            self.begun.set()
            self.gate.wait(10)
        return {"done": self.text}


def test_a_hop_grows_while_it_is_quick_and_shrinks_to_what_it_managed() -> None:
    hops = HopSize()
    sizes = []
    for _ in range(11):
        sizes.append(hops.most)
        hops.did(hops.most, of=hops.most)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 128, 256, MAX_HOP, MAX_HOP]
    hops.did(5, of=MAX_HOP)
    assert hops.most == 5
    hops.did(1, of=5)
    assert hops.most == 1
    hops.did(0, of=1)
    assert hops.most == 1
    hops.did(1, of=1)
    hops.did(1, of=1)  # fewer than it might were ready: it has shown nothing
    assert hops.most == 2


async def test_no_item_is_taken_ahead_of_a_slow_body() -> None:
    Worker.gate.clear()
    Worker.begun.clear()
    rig = Rig(Worker())
    for text in ("slow", *"abcdefgh"):
        await rig.feed.emit("text", text)
    running = asyncio.create_task(rig.actor.run())
    await asyncio.to_thread(Worker.begun.wait, 5)
    assert rig.edges["text"].taken == 1
    Worker.gate.set()
    rig.feed.end()
    assert (await running).firings == 9
    assert [value async for value in rig.taken.stream("done")] == ["slow", *"abcdefgh"]


async def test_quick_bodies_share_hops(monkeypatch: pytest.MonkeyPatch) -> None:
    hops = 0

    class Counted(Threads):
        async def call(self, *arguments: Any) -> Any:
            nonlocal hops
            hops += 1
            return await super().call(*arguments)

    monkeypatch.setattr("lanemesh.node.firing.bodies.THREADS", Counted())
    monkeypatch.setattr("lanemesh.node.firing.bodies.HOP_SECONDS", 3600)  # however slow the machine is
    result = await run_node_async(Worker, text=["x"] * 1000)
    assert (result.firings, len(result.done)) == (1000, 1000)
    doublings = MAX_HOP.bit_length() - 1
    assert hops == doublings + math.ceil((1000 - (MAX_HOP - 1)) / MAX_HOP)


async def test_a_hop_makes_each_copy_of_the_node_when_its_turn_has_come() -> None:
    alive: WeakSet[Node] = WeakSet()
    most = 0

    class Counted(Node):
        text: In[str]

        def process(self, context: Context) -> None:
            nonlocal most
            alive.add(self)
            most = max(most, len(alive))

    assert (await run_node_async(Counted, text=["x"] * 1000)).firings == 1000
    assert most <= 2


async def test_what_comes_while_a_hop_is_under_way_is_fired_on() -> None:
    Worker.gate.clear()
    Worker.begun.clear()
    rig = Rig(Worker())
    running = asyncio.create_task(rig.actor.run())
    await rig.feed.emit("text", "slow")
    await asyncio.to_thread(Worker.begun.wait, 5)
    await rig.feed.emit("text", "later")
    rig.feed.end()
    Worker.gate.set()
    assert (await running).firings == 2


@pytest.mark.parametrize("lane", ["text", "data"])
async def test_an_error_in_a_hop_comes_after_the_firings_before_it(lane: str) -> None:
    begun: list[str] = []

    class FailsText(Node):
        value: In[str]
        done: Out[str]

        def process(self, context: Context) -> dict[str, Any]:
            begun.append(self.value)
            if self.value == "bad":
                raise ValueError("bad")
            return {"done": self.value}

    class FailsData(Node):
        value: In[Any]
        done: Out[str]
        process = FailsText.process

    texts = [*(str(number) for number in range(100)), "bad", *"abc"]
    result = await run_node_async(FailsText if lane == "text" else FailsData, value=texts, raises=False)
    assert (result.state, result.firings, len(result.done)) == (State.FAILED, 101, 100)
    assert isinstance(result.error, ValueError)
    assert begun == texts[:101]


def test_a_synchronous_body_that_raises_stop_iteration_is_reported() -> None:
    class Stops(Node):
        text: In[str]

        def process(self, context: Context) -> None:
            raise StopIteration(self.text)

    with pytest.raises(RuntimeError, match="a synchronous body raised StopIteration: 'x'"):
        run_node(Stops, text="x")


async def test_a_cancelled_hop_begins_no_further_body() -> None:
    begun: list[str] = []
    started, gate, left = threading.Event(), threading.Event(), threading.Event()

    class Stubborn(Node):
        text: In[str]

        def process(self, context: Context) -> None:
            begun.append(self.text)
            if self.text == "hang":
                started.set()
                gate.wait(10)
                left.set()

    rig = Rig(Stubborn())
    for text in (*"abcdefghijklmno", "hang", *"xyz"):
        await rig.feed.emit("text", text)
    running = asyncio.create_task(rig.actor.run())
    await asyncio.to_thread(started.wait, 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    gate.set()
    await asyncio.to_thread(left.wait, 5)
    assert begun[-1] == "hang"
    assert rig.actor.abandoned


async def test_a_timeout_in_a_hop_strikes_the_firing_that_is_slow_and_the_others_go_on() -> None:
    gate, left = threading.Event(), threading.Event()
    seen: list[bool] = []

    class Hangs(Node):
        text: In[str]
        done: Out[str]

        def process(self, context: Context) -> dict[str, Any]:
            if self.text == "hang":
                gate.wait(10)
            seen.append(context.cancelled)
            if self.text == "hang":
                left.set()
            return {"done": self.text}

    rules = FiringRules(sync_mode="on_any", on_error=OnError(policy=OnErrorPolicy.SKIP))
    rig = Rig(Hangs(), rules, timeout=0.1)
    texts = [*(str(number) for number in range(20)), "hang", *"abc"]
    for text in texts:
        await rig.feed.emit("text", text)
    rig.feed.end()
    outcome = await rig.actor.run()
    assert (outcome.firings, outcome.skipped) == (24, 1)
    assert [value async for value in rig.taken.stream("done")] == [text for text in texts if text != "hang"]
    assert not any(seen)  # later ones are not stopped
    gate.set()
    await asyncio.to_thread(left.wait, 5)
    assert seen[-1]  # it was


@pytest.mark.parametrize("wrong", ["x", None, 1.5])
def test_a_refused_value_is_skipped_and_no_older_one_is_used_instead(wrong: Any) -> None:
    class Sum(Node):
        a: In[int]
        b: In[int]
        total: Out[int]

        async def process(self, context: Context) -> dict[str, Any]:
            return {"total": self.a + self.b}

    arrivals = [("a", 1), ("b", 10), ("a", wrong), ("b", 20), ("a", 3), ("b", 30)]
    result = run_node(Sum, arrivals=arrivals, on_error="skip")
    assert (result.total, result.firings, result.skipped) == ([11, 23, 33], 3, 2)


class NoPages(LanemeshError):
    """An error whose constructor takes no fault."""

    def __init__(self, pages: int, at: str) -> None:
        super().__init__(Fault(code=Code.INVALID_ARGUMENT, reason="no-pages", message=f"{pages} pages at {at}"))
        self.pages = pages


async def test_an_error_of_any_constructor_begins_with_the_name_of_the_file_and_keeps_its_cause() -> None:
    class Reads(Node):
        text: In[str]
        done: Out[str]

        async def process(self, context: Context) -> dict[str, Any]:
            raise NoPages(0, "the end") from OSError("torn")

    rig = Rig(Reads())
    await rig.feed.emit("text", "x", Envelope(metadata={FILE_NAME: "sc\nan.pdf"}))
    rig.feed.end()
    error = (await rig.actor.run()).error
    assert isinstance(error, NoPages)
    assert str(error) == error.fault.message == "scan.pdf: 0 pages at the end"
    assert (error.pages, repr(error.__cause__)) == (0, repr(OSError("torn")))


def test_a_failed_attempt_leaves_nothing_behind() -> None:
    attempts = 0

    class Spoils(Node):
        value: In[dict[str, int]]
        seen: Out[dict[str, int]]

        async def process(self, context: Context) -> dict[str, Any]:
            nonlocal attempts
            attempts += 1
            self.value["spoilt"] = attempts
            if attempts < 3:
                raise OSError("not yet")
            return {"seen": self.value}

    result = run_node(Spoils, value={"n": 1}, on_error={"retry": {"attempts": 3}})
    assert (result.seen, result.firings, result.retried) == ([{"n": 1, "spoilt": 3}], 1, 2)


def test_the_pause_between_attempts_doubles() -> None:
    policy = OnError(policy=OnErrorPolicy.RETRY, attempts=4, backoff=0.5)
    assert [policy.pause(attempt) for attempt in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert policy.pause(100) == 3600.0
    assert [policy.tries_again(attempt, OSError(), emitted=False) for attempt in (1, 3, 4)] == [True, True, False]
    assert not policy.tries_again(1, OSError(), emitted=True)


@pytest.mark.parametrize("concurrency", [2, 8])
async def test_an_error_of_one_of_several_firings_at_once_comes_in_its_turn(concurrency: int) -> None:
    failed = asyncio.Event()

    class Together(Node):
        n: In[int]
        done: Out[int]

        async def process(self, context: Context) -> dict[str, Any]:
            if self.n == 0:
                await failed.wait()
            if self.n == 1:
                failed.set()
                raise ValueError("one")
            return {"done": self.n}

    result = await run_node_async(Together, n=range(10), concurrency=concurrency, raises=False)
    assert (result.state, result.done) == (State.FAILED, [0])
    assert isinstance(result.error, ValueError)


async def test_firings_at_once_are_cancelled_with_their_node() -> None:
    begun, cancelled = 0, 0
    all_begun = asyncio.Event()

    class Hangs(Node):
        n: In[int]

        async def process(self, context: Context) -> None:
            nonlocal begun, cancelled
            begun += 1
            if begun == 3:
                all_begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled += 1

    running = asyncio.create_task(run_node_async(Hangs, n=range(10), concurrency=3))
    await all_begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (begun, cancelled) == (3, 3)


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_firings_that_fail_since_they_are_cancelled_are_cancelled_all_the_same(concurrency: int) -> None:
    begun = asyncio.Event()

    class Fails(Node):
        n: In[int]

        async def process(self, context: Context) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("I am not done") from None

    running = asyncio.create_task(run_node_async(Fails, n=range(10), concurrency=concurrency))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_latest_is_what_waits_else_what_was_taken_else_the_default() -> None:
    class Looks(Node):
        a: In[str]
        b: In[list[int] | None] = None
        seen: Out[Any]

        def gen_process(self, context: Context) -> Iterator[tuple[str, Any]]:
            yield "seen", [context.latest("a"), context.latest("b")]
            context.latest("b") and context.latest("b").append("spoilt")
            with pytest.raises(LanemeshError, match='no input "c"'):
                context.latest("c")

    result = run_node(Looks, arrivals=[("a", "1"), ("a", "2"), ("b", [1])])
    assert result.seen == [["2", [1]], ["2", [1]], ["2", [1]]]
    assert run_node(Looks, a="1").seen == [["1", None]]


def test_latest_is_not_for_run() -> None:
    class Runs(Node):
        a: In[str]

        async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
            context.latest("a")

    with pytest.raises(LanemeshError, match="`latest` is only for `process` and `gen_process`"):
        run_node(Runs, a="1")


class Same(Node):
    """Gives on what it gets."""

    value: In[Any]
    same: Out[Any]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"same": self.value}


@pytest.mark.parametrize("value", [None, [], {}, "", 0, False, [[]], {"": None}])
def test_empty_values_are_values(value: Any) -> None:
    result = run_node(Same, value=[value, value])
    assert (result.same, result.firings) == ([value, value], 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, [1.0, -math.inf]])
def test_numbers_that_json_has_not_are_refused_where_they_are_emitted(value: Any) -> None:
    class Emits(Node):
        out: Out[Any]

        def process(self, context: Context) -> dict[str, Any]:
            return {"out": value}

    with pytest.raises(LanemeshError, match=r"emits_1\.out emitted a value that a lane of type data cannot carry"):
        run_node(Emits)


@pytest.mark.parametrize("size", [0, 50 * 1024 * 1024])
def test_items_of_no_and_of_many_bytes(size: int) -> None:
    class Passes(Node):
        image: In[Image]
        passed: Out[Image]

        def process(self, context: Context) -> dict[str, Any]:
            return {"passed": self.image}

    content = bytes(size)
    result = run_node(Passes, image=[Image("image/png", content)] * 2)
    assert [image.content for image in result.passed] == [content] * 2


def test_a_text_over_the_message_limit_is_refused() -> None:
    class Emits(Node):
        text: Out[str]

        async def process(self, context: Context) -> dict[str, Any]:
            return {"text": "x" * (50 * 1024 * 1024)}

    with pytest.raises(LanemeshError, match=r"emits_1\.text .* the limit is"):
        run_node(Emits)


async def test_what_is_emitted_after_the_end_is_refused() -> None:
    kept: list[Outputs] = []

    class Keeps(Node):
        text: Out[str]

        async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
            kept.append(outputs)

    assert (await run_node_async(Keeps)).state is State.COMPLETED
    with pytest.raises(LanemeshError, match=r'keeps_1 .*"text"'):
        await kept[0].emit("text", "too late")


@pytest.mark.parametrize("kind", ["process", "gen_process", "run"])
async def test_a_node_that_never_ends_has_a_timeout(kind: str) -> None:
    async def process(self: Node, context: Context) -> None:
        await asyncio.Event().wait()

    async def gen_process(self: Node, context: Context) -> AsyncIterator[tuple[str, str]]:
        while True:
            yield "text", "x"
            await asyncio.sleep(0)

    async def run(self: Node, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        while True:
            await outputs.emit("text", "x")

    body = {"process": process, "gen_process": gen_process, "run": run}[kind]
    members = {"__module__": __name__, "__annotations__": {"text": Out[str]}, kind: body}
    rig = Rig(type("Endless", (Node,), members)(), timeout=0.05, limit=10)
    outcome = await rig.actor.run()
    assert outcome.state is State.FAILED
    assert outcome.fault is not None
    what = "run" if kind == "run" else "firing"
    assert outcome.fault.message == f"n: one {what} took longer than its timeout of 0.05 s"
