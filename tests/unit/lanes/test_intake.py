"""What arrives on a lane over gRPC: chunks of values, as any peer may send them."""

from __future__ import annotations

import tracemalloc

import pytest
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.transport import frames, intake
from lanemesh.lanes.transport.intake import Intake, ProtocolViolation
from lanemesh.v1 import lane_pb2


def intake_of(inbox: Inbox) -> Intake:
    return Intake(inbox.add_edge("a.b", "images"), LaneType.IMAGE, peer="peer", cancelling=lambda: False)


def image(content: bytes) -> lane_pb2.LaneItems:
    return lane_pb2.LaneItems(items=[lane_pb2.Item(image=lane_pb2.Media(mime_type="image/png", content=content))])


def test_small_chunks_occupy_no_more_than_their_bytes() -> None:
    taken = intake_of(Inbox(["images"]))
    tracemalloc.start()
    try:
        for number in range(50_000):
            taken.take_chunk(number.to_bytes(4, "big"))
        assert tracemalloc.get_traced_memory()[1] < 3 * 4 * 50_000
    finally:
        tracemalloc.stop()


def test_an_item_has_at_most_256_mib_with_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_MEDIA_BYTES", 100)
    monkeypatch.setattr(frames, "MAX_MEDIA_BYTES", 100)
    taken = intake_of(Inbox(["images"]))
    taken.take_chunk(b"x" * 60)
    taken.take_in(image(b"y" * 40))
    taken.take_chunk(b"x" * 60)
    with pytest.raises(ProtocolViolation, match="101 bytes; the limit is 100"):
        taken.take_in(image(b"y" * 41))
    with pytest.raises(ProtocolViolation, match="more than 100 bytes of chunks"):
        taken.take_chunk(b"x" * 101)


def test_chunks_for_a_lane_that_was_stopped_are_discarded_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_MEDIA_BYTES", 100)
    inbox = Inbox(["images"])
    taken = intake_of(inbox)
    taken.take_chunk(b"x" * 60)
    inbox.port("images").edges[0].stop("enough")
    for _ in range(3):
        taken.take_chunk(b"x" * 60)
        taken.take_in(image(b"y"))
    assert taken.received == 3
