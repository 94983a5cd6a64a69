"""Groups: the pieces of one firing are one whole, transforming nodes keep them, and every opened group is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest
from lanemesh import Answer, Context, In, Inputs, Node, Out, Outputs, Pieces
from lanemesh.faults import NodeDefinitionError
from lanemesh.items import ABSENT, Envelope, Group, GroupOutcome, Item, LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.node.firing.loop import FiringRules
from lanemesh.node.outputs import OutputLanes
from lanemesh.node.runtime.actor import Actor, State
from lanemesh.v1 import update_pb2
from lanemesh_services.text.pieces import UpperCase

OK, ERROR, CANCELLED = GroupOutcome.OK, GroupOutcome.ERROR, GroupOutcome.CANCELLED


class Speak(Node):
    """Says each word letter by letter; stops at a full stop, chokes on an exclamation mark, hangs at a question mark."""

    word: In[str]
    text: Out[Pieces[str]]
    answers: Out[Answer]
    letters: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Any]]:
        for letter in self.word:
            if letter == "!":
                raise ValueError("no shouting")
            if letter == "?":
                await asyncio.Event().wait()
            if letter == ".":
                return
            yield "text", letter
            yield "letters", letter
            yield "answers", Answer(letter)
        yield "answers", Answer(finish_reason="stop")


class Lower(Node):
    """Passes words on in lower case; drops those with an x, chokes on an exclamation mark."""

    text: In[str]
    low: Out[str]

    def process(self, context: Context) -> dict[str, str] | None:
        if "!" in self.text:
            raise ValueError("no shouting")
        return None if "x" in self.text else {"low": self.text.lower()}


class Both(Node):
    """Pairs."""

    a: In[str]
    b: In[str]
    both: Out[str]

    def process(self, context: Context) -> dict[str, str]:
        return {"both": self.a + self.b}


class Everything(Node):
    """Collects."""

    text: In[list[str]]
    count: Out[int]

    def process(self, context: Context) -> dict[str, int]:
        return {"count": len(self.text)}


class ReadAny(Node):
    """Reads values in arrival order."""

    numbers: In[int]
    seen: Out[int]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for _, number in inputs.iter_any():
            await outputs.emit("seen", number)


async def _report(update: update_pb2.Update) -> None:
    pass


class Stage:
    """A node between lanes: fed with items, its outputs kept as they are."""

    def __init__(self, kind: type[Node], given: Mapping[str, Sequence[Any]], *, sync_mode: str = "", **limits: int):
        node = kind()
        node.config = kind.Config()
        self._inbox = Inbox(kind.inputs_)
        for port, items in given.items():
            edge = self._inbox.add_edge(port, port)
            for thing in items:
                item = thing if isinstance(thing, Item) else Item(thing, 1)
                edge.put(item.value, item.size, item.envelope)
            edge.end()
        self.target = Inbox(kind.outputs_)
        lanes = {
            name: OutputLanes(
                name, spec.lane_type or LaneType.DATA, [MemorySender(self.target.add_edge(name, name, **limits))]
            )
            for name, spec in kind.outputs_.items()
        }
        context = Context(run_id="r", component="node_1", provider=kind.provider, report=_report)
        self.actor = Actor(node, context, self._inbox, Outputs("node_1", lanes), FiringRules(sync_mode=sync_mode))

    def sent(self, port: str) -> list[tuple[Any, Group | None]]:
        """What has left by an output and was not read: values with their groups."""
        return [
            (value, envelope.group if envelope is not None else None)
            for _, _, value, _, envelope in self.target.port(port).entries
        ]


def piece(value: Any, index: int = 0, *, last: bool = False, outcome: GroupOutcome = OK, group: str = "g") -> Item:
    """An item of a group, as a producer sends it."""
    return Item(value, 1, Envelope(group=Group(group, index, last, outcome)))


async def test_pieces_of_one_firing_are_one_group_and_other_outputs_stay_plain() -> None:
    stage = Stage(Speak, {"word": ["ab", "c"]})
    await stage.actor.run()

    first, second = "node_1.text.1", "node_1.text.2"
    assert stage.sent("text") == [
        ("a", Group(first, 0)),
        ("b", Group(first, 1)),
        (ABSENT, Group(first, 2, last=True)),
        ("c", Group(second, 0)),
        (ABSENT, Group(second, 1, last=True)),
    ]
    assert stage.sent("letters") == [("a", None), ("b", None), ("c", None)]
    answer = "node_1.answers.1"
    assert stage.sent("answers")[:3] == [
        (Answer("a"), Group(answer, 0)),
        (Answer("b"), Group(answer, 1)),
        (Answer(finish_reason="stop"), Group(answer, 2, last=True)),
    ]


async def test_a_firing_that_sends_nothing_opens_no_group() -> None:
    stage = Stage(Speak, {"word": ["."]})
    await stage.actor.run()

    assert stage.sent("text") == stage.sent("answers") == []


async def test_an_answer_without_a_finish_reason_is_ended_for_it() -> None:
    stage = Stage(Speak, {"word": ["a."]})
    await stage.actor.run()

    assert stage.sent("answers")[-1] == (ABSENT, Group("node_1.answers.1", 1, last=True))


async def test_what_follows_a_finish_reason_is_another_answer() -> None:
    class Twice(Node):
        answers: Out[Answer]

        def gen_process(self, context: Context) -> Any:
            yield from (("answers", Answer(text, finish_reason="stop")) for text in ("one", "two"))

    stage = Stage(Twice, {})
    await stage.actor.run()

    groups = [group for _, group in stage.sent("answers")]
    assert all(group is not None and group.last and group.index == 0 for group in groups)
    assert len({group and group.id for group in groups}) == 2


async def test_a_failure_ends_its_groups_with_an_error() -> None:
    stage = Stage(Speak, {"word": ["a!"]})
    outcome = await stage.actor.run()

    assert outcome.state is State.FAILED
    for port in ("text", "answers"):
        assert stage.sent(port)[-1] == (ABSENT, Group(f"node_1.{port}.1", 1, last=True, outcome=ERROR))


async def test_a_cancellation_ends_its_groups_as_cancelled() -> None:
    stage = Stage(Speak, {"word": ["a?"]})
    running = asyncio.create_task(stage.actor.run())
    while len(stage.sent("answers")) < 1:
        await stage.target.watch()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

    assert stage.sent("text")[-1] == (ABSENT, Group("node_1.text.1", 1, last=True, outcome=CANCELLED))


async def test_a_failure_is_not_held_up_by_a_consumer_that_takes_nothing() -> None:
    stage = Stage(Speak, {"word": ["a!"]}, limit_items=1)
    async with asyncio.timeout(5):
        outcome = await stage.actor.run()

    assert outcome.state is State.FAILED
    assert stage.sent("text") == [("a", Group("node_1.text.1", 0))]


async def test_a_transforming_node_keeps_groups_and_passes_their_end_on() -> None:
    given = [piece("A"), piece("B", 1), piece(ABSENT, 2, last=True), "C"]
    stage = Stage(Lower, {"text": given})
    outcome = await stage.actor.run()

    assert outcome.firings == 3
    assert stage.sent("low") == [
        ("a", Group("g", 0)),
        ("b", Group("g", 1)),
        (ABSENT, Group("g", 2, last=True)),
        ("c", None),
    ]


async def test_a_group_is_closed_where_its_last_piece_was_dropped() -> None:
    stage = Stage(Lower, {"text": [piece("A"), piece("x", 1, last=True)]})
    await stage.actor.run()

    assert stage.sent("low") == [("a", Group("g", 0)), (ABSENT, Group("g", 1, last=True))]


async def test_the_end_of_a_group_of_which_nothing_was_sent_goes_nowhere() -> None:
    stage = Stage(Lower, {"text": [piece("x"), piece(ABSENT, 1, last=True)]})
    await stage.actor.run()

    assert stage.sent("low") == []


async def test_an_unhappy_end_is_passed_on_as_it_is() -> None:
    stage = Stage(Lower, {"text": [piece("A"), piece(ABSENT, 1, last=True, outcome=ERROR)]})
    await stage.actor.run()

    assert stage.sent("low")[-1] == (ABSENT, Group("g", 1, last=True, outcome=ERROR))


@pytest.mark.parametrize(("rest", "outcome"), [([], OK), ([piece("!", 1)], ERROR)], ids=["never-ended", "failed"])
async def test_kept_groups_are_closed_when_the_node_ends(rest: list[Item], outcome: GroupOutcome) -> None:
    stage = Stage(Lower, {"text": [piece("A"), *rest]})
    await stage.actor.run()

    assert stage.sent("low") == [("a", Group("g", 0)), (ABSENT, Group("g", 1, last=True, outcome=outcome))]


@pytest.mark.parametrize("sync_mode", ["zip_all", "on_any"])
async def test_an_item_without_a_value_fires_nothing_and_pairs_with_nothing(sync_mode: str) -> None:
    end = piece(ABSENT, 9, last=True)
    stage = Stage(Both, {"a": [end, "1", end, "2"], "b": [end, end, "x", "y", end]}, sync_mode=sync_mode)
    outcome = await stage.actor.run()

    values = [value for value, _ in stage.sent("both")]
    assert values == (["1x", "2y"] if sync_mode == "zip_all" else ["1x", "2x", "2y"])
    assert outcome.firings == len(values)


async def test_a_required_input_with_ends_of_groups_only_has_ended_without_an_item() -> None:
    stage = Stage(Both, {"a": [piece(ABSENT, 0, last=True)], "b": ["x"]})
    outcome = await stage.actor.run()

    assert outcome.state is State.SKIPPED


async def test_lists_and_iter_any_pass_over_items_without_a_value() -> None:
    end = piece(ABSENT, 1, last=True)
    collecting, reading = Stage(Everything, {"text": ["a", end, "b"]}), Stage(ReadAny, {"numbers": [1, end, 2]})
    await collecting.actor.run()
    await reading.actor.run()

    assert [value for value, _ in collecting.sent("count")] == [2]
    assert [value for value, _ in reading.sent("seen")] == [1, 2]


async def test_a_run_node_can_hand_items_on_with_their_groups() -> None:
    stage = Stage(UpperCase, {"text": [piece("a"), piece(ABSENT, 1, last=True)]})
    await stage.actor.run()

    assert stage.sent("upper") == [("A", Group("g", 0)), (ABSENT, Group("g", 1, last=True))]


def test_an_input_is_no_pieces() -> None:
    with pytest.raises(NodeDefinitionError, match="only an output"):

        class Wrong(Node):
            text: In[Pieces[str]]

            def process(self, context: Context) -> None:
                """Never."""
