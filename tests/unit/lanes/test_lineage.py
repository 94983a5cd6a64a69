"""Numbers on their way: over the wire, beside plain texts, and through wholes that are put together."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lanemesh.codec import decode, encode
from lanemesh.items import ABSENT, ITEM_OVERHEAD_BYTES, Envelope, Group, GroupOutcome, Item, LaneType, Lineage
from lanemesh.lanes.inbox.assembler import Assembler, join_text
from lanemesh.lanes.transport.frames import Queued, next_frame, plain_texts, read_items, serialize
from lanemesh.v1 import lane_pb2

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine may take its time."""

FORKS = st.dictionaries(st.sampled_from(["a.x", "b.y", "c.z"]), st.integers(0, 2**63), min_size=1)


@st.composite
def lineages(draw: st.DrawFn) -> Lineage:
    forks = draw(FORKS)
    return Lineage(forks, draw(st.frozensets(st.sampled_from(sorted(forks)))))


def text(value: str, lineage: Lineage | None = None, group: Group | None = None) -> Item:
    envelope = Envelope(lineage=lineage, group=group) if lineage is not None or group is not None else None
    return Item(value, len(value) + ITEM_OVERHEAD_BYTES, envelope)


@UNHURRIED
@given(lineages(), st.booleans())
def test_numbers_survive_the_wire(lineage: Lineage, valued: bool) -> None:
    item = text("token", lineage) if valued else Item(ABSENT, ITEM_OVERHEAD_BYTES, Envelope(lineage=lineage))
    assert decode(LaneType.TEXT, encode(LaneType.TEXT, item)) == item


@UNHURRIED
@given(st.lists(st.none() | lineages(), min_size=1, max_size=12))
def test_plain_texts_and_numbered_ones_keep_their_order_in_frames(marks: list[Lineage | None]) -> None:
    items = [text(f"t{index}", lineage) for index, lineage in enumerate(marks)]
    queue: deque[Queued] = deque((item.value, item.size, item.envelope) for item in items)
    read: list[Item] = []
    while queue:
        frame, count, _ = next_frame(LaneType.TEXT, queue)
        request = lane_pb2.ExchangeRequest.FromString(serialize(frame))
        plain = plain_texts(request.items)
        assert plain is None or not any(marks[len(read) : len(read) + count])
        read += [text(value) for value in plain] if plain is not None else read_items(LaneType.TEXT, request.items, b"")
    assert read == items


def piece(index: int, number: int | None, *done: str, last: bool = False, value: str = "p") -> Item:
    lineage = Lineage({"f.x": number}, frozenset(done)) if number is not None else None
    return text(value, lineage, Group("g", index, last))


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([piece(0, 7), piece(1, 7, "f.x", last=True)], Lineage({"f.x": 7}, frozenset({"f.x"}))),
        ([piece(0, 7), piece(1, 7, last=True)], Lineage({"f.x": 7})),
        ([piece(0, 7), piece(1, 8, last=True)], None),
        ([piece(0, 7), piece(1, None, last=True)], None),
        (
            [piece(0, 7), Item(ABSENT, ITEM_OVERHEAD_BYTES, Envelope(group=Group("g", 1, True)))],
            Lineage({"f.x": 7}),
        ),
    ],
)
def test_a_whole_has_the_numbers_on_which_its_pieces_agree(pieces: list[Item], expected: Lineage | None) -> None:
    assembler = Assembler(join_text)
    wholes = [whole for item in pieces if (whole := assembler.put("edge", item)) is not None]
    assert len(wholes) == 1
    assert (wholes[0].envelope.lineage if wholes[0].envelope else None) == expected


def test_an_empty_whole_still_completes_its_number() -> None:
    assembler = Assembler(join_text)
    assert assembler.put("edge", piece(0, 7)) is None
    end = Envelope(group=Group("g", 1, True, GroupOutcome.ERROR), lineage=Lineage({"f.x": 7}, frozenset({"f.x"})))
    told = assembler.put("edge", Item(ABSENT, ITEM_OVERHEAD_BYTES, end))
    assert told == Item(ABSENT, ITEM_OVERHEAD_BYTES, Envelope(lineage=Lineage({"f.x": 7}, frozenset({"f.x"}))))
