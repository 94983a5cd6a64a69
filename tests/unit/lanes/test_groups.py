"""Wholes and groups kept apart: pure rules, beside naive ones that look at the whole history each time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanemesh.items import ABSENT, MAX_MEDIA_BYTES, Envelope, Group, GroupOutcome, Item
from lanemesh.lanes.inbox.assembler import (
    MAX_OPEN_BYTES,
    Assembler,
    TooMuchOpen,
    join_answers,
    join_any,
    join_documents,
    join_media,
    join_text,
    max_open_bytes,
)
from lanemesh.lanes.inbox.inbox import Edge, Inbox
from lanemesh.lanes.inbox.serializer import GroupOrder
from lanemesh.values import Answer, Document, Image, Media, ToolCall, Usage

OK, ERROR, CANCELLED = GroupOutcome.OK, GroupOutcome.ERROR, GroupOutcome.CANCELLED


@dataclass(frozen=True)
class Put:
    """An item comes on an edge."""

    source: str
    group: str
    """Empty: it has none."""
    last: bool
    outcome: GroupOutcome
    has_value: bool


@dataclass(frozen=True)
class End:
    """An edge ends."""

    source: str
    clean: bool


@dataclass(frozen=True)
class Drop:
    """An edge is stopped."""

    source: str


SOURCES = st.sampled_from(["x", "y", "z"])
PUTS = st.builds(
    Put, SOURCES, st.sampled_from(["", "g", "h", "i"]), st.booleans(), st.sampled_from([OK, OK, ERROR]), st.booleans()
)
STEPS = st.lists(
    st.one_of(PUTS, PUTS, PUTS, PUTS, st.builds(End, SOURCES, st.booleans()), st.builds(Drop, SOURCES)),
    min_size=12,
    max_size=40,
)


def item_of(put: Put, number: int) -> Item:
    """The item that a step stands for; its number distinguishes it from all others."""
    value = f"{number} " if put.has_value else ABSENT
    if not put.group:
        return Item(value, 1, None if put.has_value else Envelope())
    return Item(value, 1, Envelope(group=Group(put.group, 0, put.last, put.outcome)))


@dataclass
class NaiveAssembler:
    """Looks back over everything that has come, at each end of a group."""

    history: list[tuple[int, Put | End | Drop]] = field(default_factory=list)

    def pieces(self, source: str, group: str) -> list[tuple[int, Put]]:
        """What has come of a group since it last ended."""
        found: list[tuple[int, Put]] = []
        for number, step in self.history:
            if step.source != source:
                continue
            if not isinstance(step, Put):
                found = []
            elif step.group == group:
                found = [*found, (number, step)] if not step.last else []
        return found

    def open(self) -> list[tuple[str, str]]:
        """The groups that have begun and not ended, in the order in which they began."""
        keys = {(step.source, step.group) for _, step in self.history if isinstance(step, Put) and step.group}
        return sorted((key for key in keys if self.pieces(*key)), key=lambda key: self.pieces(*key)[0][0])

    def step(self, number: int, step: Put | End | Drop) -> list[str]:
        """The wholes that come of a step."""
        wholes: list[list[tuple[int, Put]]] = []
        if isinstance(step, End) and step.clean:
            wholes = [self.pieces(*key) for key in self.open() if key[0] == step.source]
        elif isinstance(step, Put) and (not step.group or (step.last and step.outcome is OK)):
            wholes = [[*(self.pieces(step.source, step.group) if step.group else []), (number, step)]]
        self.history.append((number, step))
        texts = ["".join(f"{number} " for number, put in whole if put.has_value) for whole in wholes]
        return [text for text in texts if text]


@pytest.mark.conformance("FIRE-22")
@settings(deadline=None)
@given(STEPS)
def test_wholes_are_those_of_a_naive_assembler(steps: list[Put | End | Drop]) -> None:
    assembler, naive = Assembler(join_text), NaiveAssembler()
    for number, step in enumerate(steps):
        expected = naive.step(number, step)
        got: list[Item] = []
        if isinstance(step, Put):
            whole = assembler.put(step.source, item_of(step, number))
            got = [whole] if whole is not None else []
        elif isinstance(step, End):
            got = assembler.end(step.source, clean=step.clean)
        else:
            assembler.drop(step.source)
        assert [item.value for item in got if item.value is not ABSENT] == expected
        assert assembler.open_groups == len(naive.open())
        assert assembler.open_items == assembler.open_bytes == sum(len(naive.pieces(*key)) for key in naive.open())


@dataclass
class Turn:
    """A group, or an item without one."""

    source: str
    group: str
    numbers: list[int]
    over: bool


@dataclass
class NaiveOrder:
    """Lets pass, at any time, every turn up to the first that is not over."""

    turns: list[Turn] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)

    def step(self, number: int, step: Put | End | Drop) -> list[int]:
        """The numbers that pass at a step."""
        if isinstance(step, Put):
            going = [t for t in self.turns if not t.over and (t.source, t.group) == (step.source, step.group)]
            if not going:
                going = [Turn(step.source, step.group, [], False)]
                self.turns += going
            going[0].numbers.append(number)
            going[0].over = step.last or not step.group
        else:
            for turn in self.turns:
                if turn.source == step.source:
                    turn.over = True
                    if isinstance(step, Drop):
                        turn.numbers = [one for one in turn.numbers if one in self.passed]
        passing: list[int] = []
        for turn in self.turns:
            passing += [one for one in turn.numbers if one not in self.passed]
            if not turn.over:
                break
        self.passed += passing
        return passing


@pytest.mark.conformance("FIRE-22")
@settings(deadline=None)
@given(STEPS)
def test_groups_pass_in_the_order_of_a_naive_one(steps: list[Put | End | Drop]) -> None:
    order: GroupOrder[int] = GroupOrder()
    naive = NaiveOrder()
    for number, step in enumerate(steps):
        expected = naive.step(number, step)
        if isinstance(step, Put):
            envelope = item_of(step, number).envelope
            assert order.put(step.source, envelope.group if envelope is not None else None, number) == expected
        else:
            assert (order.end if isinstance(step, End) else order.drop)(step.source) == expected
        assert order.parked == sum(one not in naive.passed for turn in naive.turns for one in turn.numbers)
        assert order.open_groups == sum(not turn.over for turn in naive.turns)


@pytest.mark.conformance("FIRE-22")
@pytest.mark.parametrize("kind", ["assembling", "keeping"])
@settings(deadline=None)
@given(steps=STEPS, takes=st.lists(st.integers(0, 2)))
def test_a_port_that_minds_groups_keeps_account_of_every_item(
    kind: str, steps: list[Put | End | Drop], takes: list[int]
) -> None:
    inbox = Inbox(["port"])
    edges = {name: inbox.add_edge(name, "port") for name in "xyz"}
    port = inbox.port("port")
    if kind == "assembling":
        inbox.assemble("port", join_text)
    else:
        inbox.serialize_groups("port")
    taken: list[str] = []
    for number, step in enumerate(steps):
        edge = edges[step.source]
        if isinstance(step, Put) and not edge.ended:
            edge.put(*item_of(step, number))
        elif isinstance(step, Drop):
            edge.stop("enough")
        elif number > len(steps) // 2:
            edge.end()
        for _ in range(takes[number] if number < len(takes) else 0):
            if port.entries:
                taken.append(port.take().value)
        check_account(edges, kind)
    inbox.stop("over")
    check_account(edges, kind)
    assert port.statistics().aside_items == port.statistics().open_groups == 0
    numbers = " ".join(value for value in taken if isinstance(value, str)).split()
    assert len(set(numbers)) == len(numbers)


def check_account(edges: dict[str, Edge], kind: str) -> None:
    """Every item that has arrived is taken, discarded or buffered."""
    (port,) = {edge.port for edge in edges.values()}
    for edge in edges.values():
        there = sum(entry[1] is edge for entry in port.entries)
        size = sum(entry[3] for entry in port.entries if entry[1] is edge)
        assert edge.arrived == edge.taken + edge.discarded + edge.buffered_items
        assert edge.buffered_items >= there
        assert edge.buffered_bytes == size if kind == "assembling" else edge.buffered_bytes >= size
    parked = port.statistics().aside_items if kind == "keeping" else 0
    assert sum(edge.buffered_items for edge in edges.values()) == len(port.entries) + parked


def test_more_open_pieces_than_the_ceiling_are_refused() -> None:
    def piece(group: str, text: str, *, last: bool = False) -> Item:
        return Item(text, len(text), Envelope(group=Group(group, 0, last)))

    few = Assembler(join_text, max_items=2)
    few.put("x", piece("g", "1"))
    few.put("x", piece("h", "2"))
    assert few.put("x", piece("h", "3", last=True)) is not None  # which closes one
    few.put("x", piece("h", "4"))
    with pytest.raises(TooMuchOpen):
        few.put("y", piece("g", "5"))
    small = Assembler(join_text, max_bytes=10)
    small.put("x", piece("g", "x" * 10))
    with pytest.raises(TooMuchOpen):
        small.put("x", piece("g", "x"))


def test_the_pieces_of_a_file_may_be_as_large_as_a_file() -> None:
    assert {max_open_bytes(join) for join in (join_documents, join_media, join_any)} == {MAX_MEDIA_BYTES}
    assert max_open_bytes(join_text) == MAX_OPEN_BYTES


def test_what_wholes_are_made_of() -> None:
    usage = Usage(1, 2)
    pieces = [Answer("a", {"x": 1}), Answer("b"), Answer("c", finish_reason="stop", usage=usage), Answer()]
    assert join_answers(pieces) == Answer("abc", {"x": 1}, "stop", usage)
    calls = ToolCall("1", "look", "{}"), ToolCall("2", "wait", "{}")
    assert join_answers([Answer(tool_calls=calls[:1]), Answer("a", tool_calls=calls[1:])]).tool_calls == calls
    chunks = [Document("a", id="1", source="f", chunk_index=0, score=0.5), Document("b", id="2", chunk_index=1)]
    assert join_documents(chunks) == Document("ab", id="1", source="f")
    assert join_documents(chunks[1:]) == chunks[1]
    file = [Document("", source="f", file=Media("application/pdf", part)) for part in (b"%P", b"DF")]
    assert join_documents(file) == Document("", source="f", file=Media("application/pdf", b"%PDF"))
    halves = [Image("image/png", b"a", width=2), Image("image/png", b"b")]
    assert join_media(halves) == Image("image/png", b"ab", width=2)
    with pytest.raises(ValueError, match="with a URI"):
        join_media([*halves, Image("image/png", uri="file:///x")])
