"""When nodes fire and what a firing sees, through the real actor and memory lanes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest
from lanemesh import Context, In, Inputs, LanemeshError, Node, Out, Outputs
from lanemesh.faults import Code, Fault, NodeDefinitionError
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.node.firing.loop import FiringRules
from lanemesh.node.manifest import manifest_of
from lanemesh.node.outputs import OutputLanes
from lanemesh.node.runtime.actor import Actor, State
from lanemesh.testing import run_node, run_node_async
from lanemesh.v1 import node_pb2


class Both(Node):
    """Needs both."""

    a: In[Any]
    b: In[Any]
    pair: Out[list[Any]]

    def process(self, context: Context) -> dict[str, Any]:
        return {"pair": [self.a, self.b]}


class Either(Node):
    """Needs neither."""

    a: In[Any] = None
    b: In[Any] = None
    pair: Out[list[Any]]

    def process(self, context: Context) -> dict[str, Any]:
        return {"pair": [self.a, self.b]}


class Independent(Node):
    """Treats each input alone."""

    separate_inputs = True
    a: In[str | None] = None
    b: In[str | None] = None
    pair: Out[list[Any]]

    def process(self, context: Context) -> dict[str, Any]:
        return {"pair": [self.a, self.b]}


class Collect(Node):
    """Collects a list beside a stream of single items."""

    items: In[list[str]]
    one: In[str] = ""
    all: Out[list[str]]

    def process(self, context: Context) -> dict[str, Any]:
        return {"all": [self.one, *self.items]}


def arrivals(text: str) -> list[tuple[str, str]]:
    """ "a1 b1" as a1 at a, then b1 at b."""
    return [(word[0], word) for word in text.split()]


def pairs(text: str) -> list[list[str | None]]:
    """ "a1,- a1,b1" as lists."""
    return [[None if part == "-" else part for part in pair.split(",")] for pair in text.split()]


@pytest.mark.conformance("FIRE-01")
@pytest.mark.parametrize("kind", ["process", "gen_process", "run"])
def test_without_inputs_a_node_fires_once(kind: str) -> None:
    class Process(Node):
        word: Out[str]

        def process(self, context: Context) -> dict[str, Any]:
            return {"word": "once"}

    class Generate(Node):
        word: Out[str]

        def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
            yield "word", "once"

    class Run(Node):
        word: Out[str]

        async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
            await outputs.emit("word", "once")

    result = run_node({"process": Process, "gen_process": Generate, "run": Run}[kind])
    assert (result.word, result.firings, result.state) == (["once"], 1, State.COMPLETED)


@pytest.mark.conformance("FIRE-02")
def test_on_any_with_optional_inputs() -> None:
    assert run_node(Either, arrivals=arrivals("a1 b1 a2 b2")).pair == pairs("a1,- a1,b1 a2,b1 a2,b2")


@pytest.mark.conformance("FIRE-03")
@pytest.mark.parametrize(
    ("arrive", "fire"), [("a1 b1 a2 b2", "a1,b1 a2,b1 a2,b2"), ("a1 a2 b1", "a1,b1 a2,b1"), ("b1 b2 a1", "a1,b1 a1,b2")]
)
def test_on_any_with_required_inputs(arrive: str, fire: str) -> None:
    assert run_node(Both, arrivals=arrivals(arrive)).pair == pairs(fire)


@pytest.mark.conformance("FIRE-04")
@pytest.mark.parametrize("arrive", ["b1 a1 a2 a3", "a1 a2 b1 a3", "a1 a2 a3 b1"])
def test_every_item_of_a_stream_fires_with_a_required_constant(arrive: str) -> None:
    assert run_node(Both, arrivals=arrivals(arrive)).pair == pairs("a1,b1 a2,b1 a3,b1")


@pytest.mark.conformance("FIRE-05")
@pytest.mark.parametrize("arrive", ["a1 b1 a2 b2", "a1 a2 b1 b2", "b1 b2 a1 a2", "b1 a1 a2 b2"])
def test_zip_all_pairs_by_index(arrive: str) -> None:
    assert run_node(Both, sync_mode="zip_all", arrivals=arrivals(arrive)).pair == pairs("a1,b1 a2,b2")


@pytest.mark.conformance("FIRE-06")
def test_zip_all_reuses_a_one_input() -> None:
    result = run_node(Both, sync_mode="zip_all", reused=["b"], arrivals=arrivals("a1 a2 b1 a3"))
    assert result.pair == pairs("a1,b1 a2,b1 a3,b1")
    assert run_node(Both, sync_mode="zip_all", reused=["a", "b"], arrivals=arrivals("a1 b1")).firings == 1


@pytest.mark.conformance("FIRE-07")
async def test_zip_all_stops_at_the_shorter_and_stops_the_longers_endless_producer() -> None:
    inbox = Inbox(["a", "b"])
    edges = {name: inbox.add_edge(name, name, limit_items=4) for name in "ab"}
    lanes = {name: OutputLanes(name, LaneType.DATA, [MemorySender(edge)]) for name, edge in edges.items()}
    send = Outputs("test", lanes)
    taken = Inbox(["pair"])
    out = taken.add_edge("pair", "pair")

    async def endless() -> int:
        number = 0
        while await send.emit("b", f"b{number}"):
            number += 1
        return number

    producing = asyncio.create_task(endless())
    await send.emit("a", "a0")
    await send.emit("a", "a1")
    await send.complete("a")
    context = Context(run_id="r", component="zip", provider="both", report=_unheard)
    outputs = Outputs("zip", {"pair": OutputLanes("zip.pair", LaneType.DATA, [MemorySender(out)])})
    outcome = await Actor(Both(), context, inbox, outputs, FiringRules(sync_mode="zip_all")).run()
    assert (outcome.state, outcome.firings) == (State.COMPLETED, 2)
    assert outcome.detail.startswith("items left over: ")
    assert outcome.detail.endswith(" on b")
    assert await producing >= 2
    assert [value async for value in taken.stream("pair")] == [["a0", "b0"], ["a1", "b1"]]


@pytest.mark.conformance("LANE-09")
@pytest.mark.parametrize("code", [None, Code.INTERNAL, Code.CANCELLED])
async def test_a_node_whose_consumer_failed_passes_that_on_while_it_still_fires(code: Code | None) -> None:
    class Fires(Node):
        word: In[str]
        out: Out[str]

        async def process(self, context: Context) -> dict[str, Any]:
            fires.set()
            await asyncio.Event().wait()
            return {}

    fires = asyncio.Event()
    inbox, taken = Inbox(["word"]), Inbox(["out"])
    incoming, outgoing = inbox.add_edge("in", "word"), taken.add_edge("out", "out")
    incoming.put("x", 1, None)
    context = Context(run_id="r", component="fires", provider="fires", report=_unheard)
    outputs = Outputs("fires", {"out": OutputLanes("fires.out", LaneType.TEXT, [MemorySender(outgoing)])})
    running = asyncio.create_task(Actor(Fires(), context, inbox, outputs).run())
    await fires.wait()
    fault = Fault(code=code, reason="gone", message="its consumer is gone", secondary=True) if code else None
    outgoing.stop("no more", fault)
    assert incoming.stopped
    assert incoming.stop_fault == fault
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _unheard(_: object) -> None:
    """Takes a report."""


@pytest.mark.conformance("FIRE-09")
def test_a_generator_runs_once_per_set_of_inputs() -> None:
    class Twice(Node):
        a: In[str]
        b: In[str]
        left: Out[str]
        right: Out[str]

        async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
            yield "left", self.a
            yield "right", self.b

    result = run_node(Twice, arrivals=arrivals("a1 b1 a2"))
    assert (result.left, result.right, result.firings) == (["a1", "a2"], ["b1", "b1"], 2)


@pytest.mark.conformance("FIRE-10")
def test_a_run_node_is_called_once_and_sees_every_item() -> None:
    class Merge(Node):
        a: In[str]
        b: In[str]
        seen: Out[str]

        async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
            async for port, value in inputs.iter_any():
                await outputs.emit("seen", port + value)

    result = run_node(Merge, arrivals=arrivals("a1 b1 b2 a2"))
    assert (result.seen, result.firings) == (["aa1", "bb1", "bb2", "aa2"], 1)


@pytest.mark.conformance("FIRE-11")
def test_a_list_input_collects_until_the_end_and_fires_once() -> None:
    result = run_node(Collect, items=["1", "2", "3"])
    assert (result.all, result.firings) == ([["", "1", "2", "3"]], 1)
    assert run_node(Collect, items=[]).all == [[""]]
    assert run_node(Collect, items=["1"], one=["x", "y"]).all == [["x", "1"], ["y", "1"]]


@pytest.mark.conformance("FIRE-11")
def test_a_list_over_its_ceiling_fails_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh.node.firing.taking.MAX_LIST_ITEMS", 2)
    with pytest.raises(LanemeshError, match=r"the list input collect_1\.items collected 3 items") as caught:
        run_node(Collect, items=["1", "2", "3"])
    assert caught.value.fault.reason == "list-too-long"
    monkeypatch.setattr("lanemesh.node.firing.taking.MAX_LIST_ITEMS", 100)
    monkeypatch.setattr("lanemesh.node.firing.taking.MAX_LIST_BYTES", 1000)
    with pytest.raises(LanemeshError, match="its limit is"):
        run_node(Collect, items=["x" * 600, "y" * 600])


@pytest.mark.conformance("FIRE-12")
def test_a_required_input_that_ends_empty_skips_the_node_and_is_reported() -> None:
    result = run_node(Both, a=[1, 2, 3], b=[])
    assert (result.state, result.firings, result.pair) == (State.SKIPPED, 0, [])
    assert result.detail == 'the required input "b" ended without an item; items that waited: 3 on a'


@pytest.mark.conformance("FIRE-13")
def test_nothing_leaks_from_one_firing_to_the_next() -> None:
    class Sticky(Node):
        data: In[dict[str, Any]]
        more: In[list[Any]]
        late: In[Any] = None
        seen: Out[Any]
        count = 0
        bag: ClassVar[list[int]] = []

        def process(self, context: Context) -> dict[str, Any]:
            seen = [dict(self.data), list(self.more), self.late, self.count]
            self.count += 1
            self.data["spoilt"] = True
            self.more.append("spoilt")
            return {"seen": seen}

    one = {"n": 1}
    result = run_node(Sticky, arrivals=[("data", one), ("data", {"n": 2}), ("late", 3)], more=[])
    assert result.seen == [[{"n": 1}, [], None, 0], [{"n": 2}, [], None, 0], [{"n": 2}, [], 3, 0]]
    assert one == {"n": 1}


@pytest.mark.conformance("FIRE-14")
@pytest.mark.parametrize("wrong", ["x", None, [1], {"n": 1}, 1.5, True])
def test_a_value_of_the_wrong_type_fails_the_node(wrong: Any) -> None:
    class Whole(Node):
        n: In[int]
        same: Out[int]

        def process(self, context: Context) -> dict[str, Any]:
            return {"same": self.n}

    result = run_node(Whole, n=[[1, wrong][index] for index in range(2)], raises=False)
    assert (result.state, result.same, result.firings) == (State.FAILED, [1], 1)
    assert isinstance(result.error, LanemeshError)
    assert result.error.fault.reason == "wrong-type"
    assert "whole_1.n" in str(result.error)


@pytest.mark.conformance("FIRE-15")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("nowhere", 1), 'bad_1 has no output "nowhere"; its outputs: word'),
        ("word", "bad_1 (bad): gen_process yielded 'word'; yield (\"port\", value)"),
        (("word", "a", "b"), "gen_process yielded ('word', 'a', 'b')"),
        ((1, "a"), 'has no output "1"'),
        (None, "gen_process yielded None"),
    ],
)
def test_a_yield_that_is_no_pair_of_port_and_value_is_named(given: Any, told: str) -> None:
    class Bad(Node):
        word: Out[str]

        async def gen_process(self, context: Context) -> AsyncIterator[Any]:
            yield given

    with pytest.raises(LanemeshError) as caught:
        run_node(Bad)
    assert told in str(caught.value)


@pytest.mark.conformance("FIRE-15")
@pytest.mark.parametrize(
    ("given", "told"),
    [({"nowhere": 1}, 'has no output "nowhere"'), ("word", "process returned str"), ([("word", 1)], "returned list")],
)
def test_a_result_that_is_no_dict_of_ports_is_named(given: Any, told: str) -> None:
    class Bad(Node):
        word: Out[str]
        other: Out[str]

        async def process(self, context: Context) -> Any:
            return given

    with pytest.raises(LanemeshError) as caught:
        run_node(Bad)
    assert told in str(caught.value)


@pytest.mark.conformance("FIRE-16")
async def test_complete_ends_only_the_lanes_of_that_port_of_that_node() -> None:
    target = Inbox(["in"])
    own, other, second = (target.add_edge(name, "in") for name in ("own", "other", "second"))
    ports = {
        "one": OutputLanes("n.one", LaneType.TEXT, [MemorySender(own)]),
        "two": OutputLanes("n.two", LaneType.TEXT, [MemorySender(second)]),
    }
    outputs = Outputs("n", ports)
    await outputs.complete("one")
    assert (own.ended, other.ended, second.ended) == (True, False, False)
    assert await outputs.emit("two", "on")
    with pytest.raises(LanemeshError, match='n has completed its output "one"'):
        await outputs.emit("one", "more")


@pytest.mark.conformance("FIRE-17")
async def test_a_synchronous_body_that_sleeps_blocks_no_other_node() -> None:
    entered, released = threading.Event(), threading.Event()

    class Sleepy(Node):
        word: Out[str]

        def process(self, context: Context) -> dict[str, Any]:
            entered.set()
            assert released.wait(60)
            return {"word": "slept"}

    class Quick(Node):
        word: Out[str]

        async def process(self, context: Context) -> dict[str, Any]:
            return {"word": "quick"}

    sleeping = asyncio.create_task(run_node_async(Sleepy))
    assert await asyncio.to_thread(entered.wait, 60)
    for _ in range(20):
        assert (await run_node_async(Quick)).word == ["quick"]
    assert not sleeping.done()
    released.set()
    assert (await sleeping).word == ["slept"]


async def _run(self: Node, context: Context, inputs: Inputs, outputs: Outputs) -> None:
    """Does nothing."""


def _process(self: Node, context: Context) -> None:
    """Does nothing."""


def _generate(self: Node, context: Context) -> Iterator[tuple[str, str]]:
    yield "nowhere", ""


_yes, _no = classmethod(lambda cls: True), classmethod(lambda cls: False)


@pytest.mark.conformance("FIRE-19")
@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"process": lambda self, context: None, "gen_process": lambda self, context: None}, "process and gen_process"),
        ({"process": lambda self, context: None, "run": lambda self, context: None}, "process and run"),
        ({"process": lambda self, context: None, "sync_mode": "sometimes"}, 'sync_mode is "sometimes"'),
        ({"process": _process, "isolation": "jail"}, 'isolation is "jail"'),
        ({"run": _run, "isolation": "process"}, 'isolation is "process", but it implements run'),
        ({"offers": ("tool",), "isolation": "process"}, 'isolation is "process", but calls of helpers'),
        ({"run": _run, "restartable": True}, "it is restartable, but it implements run"),
        ({"run": _run, "sync_mode": "zip_all"}, 'sync_mode is "zip_all", but it implements run'),
        (
            {"process": _process, "is_streaming_input": _yes},
            "is_streaming_input returns True, but it implements process",
        ),
        ({"run": _run, "is_streaming_input": _no}, "is_streaming_input returns False, but it implements run"),
        (
            {"process": _process, "is_streaming_output": _yes},
            "is_streaming_output returns True, but it implements process",
        ),
        ({"gen_process": _generate, "is_streaming_output": _no}, "returns False, but it implements gen_process"),
        ({"run": _run, "__annotations__": {"a": In[list[str]]}}, "list input"),
        ({"process": lambda self, context: None, "__annotations__": {"a": In[bytes]}}, "the port a is of type bytes"),
        ({"process": lambda self, context: None, "__annotations__": {"a": "In[Nothing]"}}, "cannot be resolved"),
    ],
)
def test_a_class_that_contradicts_itself_is_refused_when_it_is_defined(members: dict[str, Any], told: str) -> None:
    with pytest.raises(NodeDefinitionError, match="Odd") as caught:
        type("Odd", (Node,), {"__module__": __name__, **members})
    assert told in str(caught.value)


@pytest.mark.conformance("FIRE-19")
def test_consistent_flags_may_be_given() -> None:
    class Once(Node):
        """Sums up."""

        out: Out[str]
        run = _run

        @classmethod
        def is_streaming_input(cls) -> bool:
            return True

        @classmethod
        def is_streaming_output(cls) -> bool:
            return False

    class Joins(Node):
        sync_mode = "join"
        isolation = "process"
        process = _process

    once, joins = manifest_of(Once), manifest_of(Joins)
    assert (once.is_streaming_input, once.is_streaming_output) == (True, False)
    assert once.outputs[0].multiplicity == node_pb2.MULTIPLICITY_ONE
    assert (joins.is_streaming_input, joins.is_streaming_output) == (False, False)
    assert joins.sync_mode == node_pb2.SYNC_MODE_JOIN


@pytest.mark.parametrize("settings", [{}, {"concurrency": 2}, {"on_error": "skip"}])
def test_separate_inputs_fire_alone_with_the_defaults_of_the_others(settings: dict[str, Any]) -> None:
    result = run_node(Independent, arrivals=arrivals("a1 b1 b2 a2"), **settings)
    assert result.pair == [["a1", None], [None, "b1"], [None, "b2"], ["a2", None]]


def test_a_wrong_value_at_a_separate_input_skips_its_own_firing_alone() -> None:
    class Numbers(Node):
        """Treats each number alone."""

        separate_inputs = True
        a: In[int | None] = None
        b: In[int | None] = None
        pair: Out[list[Any]]

        def process(self, context: Context) -> dict[str, Any]:
            return {"pair": [self.a, self.b]}

    result = run_node(Numbers, on_error="skip", arrivals=[("a", "wrong"), ("b", 1), ("a", 2)])
    assert (result.pair, result.skipped) == ([[None, 1], [2, None]], 1)


def test_separate_inputs_together_where_a_pipeline_zips_them() -> None:
    result = run_node(Independent, sync_mode="zip_all", a=["a1", "a2"], b=["b1", "b2"])
    assert result.pair == [["a1", "b1"], ["a2", "b2"]]


@pytest.mark.parametrize("mode", ["zip_all", "join"])
def test_separate_inputs_reuse_a_single_item_where_a_pipeline_pairs_them(mode: str) -> None:
    result = run_node(Independent, sync_mode=mode, a=["1", "2"], b=["x"], reused=["b"])
    assert result.pair == [["1", "x"], ["2", "x"]]


def test_separate_inputs_need_defaults_and_no_lists() -> None:
    with pytest.raises(NodeDefinitionError, match="the input b has no default"):

        class NoDefault(Node):
            """Has an input without a default."""

            separate_inputs = True
            a: In[str | None] = None
            b: In[str]
            c: Out[str]

            def process(self, context: Context) -> str:
                return self.b

    with pytest.raises(NodeDefinitionError, match="the input b collects a list"):

        class AList(Node):
            """Has a list."""

            separate_inputs = True
            a: In[str | None] = None
            b: In[list[str]] = []  # noqa: RUF012
            c: Out[str]

            def process(self, context: Context) -> str:
                return self.b[0]


def test_a_class_may_have_several_firings_at_once_unless_the_pipeline_sets_it() -> None:
    class Meets(Node):
        """Waits until as many firings run as its class allows."""

        concurrency = 3
        number: In[int]
        met: Out[int]

        @classmethod
        async def load(cls, config: Any) -> asyncio.Barrier:
            return asyncio.Barrier(3)

        async def process(self, context: Context) -> int:
            await self.resource.wait()
            return self.number

    assert run_node(Meets, number=[1, 2, 3, 4, 5, 6]).met == [1, 2, 3, 4, 5, 6]
    with pytest.raises(TimeoutError):
        run_node(Meets, concurrency=2, number=[1, 2, 3], timeout=0.3)


def test_a_class_that_reads_its_own_inputs_has_no_concurrency() -> None:
    with pytest.raises(NodeDefinitionError, match="concurrency is 2; it must be 1 for run"):

        class Reads(Node):
            """Reads its own inputs."""

            concurrency = 2
            a: In[str]

            async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
                pass
