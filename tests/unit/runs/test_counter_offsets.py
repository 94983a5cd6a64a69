"""Counts go on when components are placed again."""

from __future__ import annotations

from lanemesh.v1 import lane_pb2, update_pb2
from lanemesh_orchestrator.pipeline import Edge
from lanemesh_orchestrator.runs.counter_offsets import CounterOffsets


def edge(producer: str, consumer: str) -> Edge:
    return Edge(
        id=f"{producer}>{consumer}",
        producer=producer,
        output="out",
        consumer=consumer,
        input="in",
        lane_type=lane_pb2.LANE_TYPE_TEXT,
        pointer="",
    )


class Told:
    """The reported counts of a -> b -> c."""

    def __init__(self) -> None:
        self.counts = CounterOffsets([edge("a", "b"), edge("b", "c")])

    def edge(self, name: str, sent: int, consumed: int) -> tuple[int, int]:
        update = update_pb2.Update(edge=update_pb2.EdgeUpdate(edge_id=name, sent=sent, consumed=consumed))
        self.counts.apply(update)
        return update.edge.sent, update.edge.consumed

    def node(self, name: str, firings: int, skipped: int = 0) -> tuple[int, int]:
        node = update_pb2.NodeUpdate(component=name, firings=firings, skipped_firings=skipped)
        update = update_pb2.Update(node=node)
        self.counts.apply(update)
        return update.node.firings, update.node.skipped_firings


def test_a_consumer_that_is_placed_again_counts_what_was_processed_before() -> None:
    told = Told()
    assert told.edge("a>b", 100, 60) == (100, 60)
    told.counts.placed_again(["b"])
    assert told.edge("a>b", 50, 50) == (100, 60)  # its producer had reported 50 processed items
    assert told.edge("a>b", 120, 110) == (120, 110)


def test_two_in_a_row_that_are_placed_again_count_from_what_was_taken() -> None:
    told = Told()
    told.edge("b>c", 100, 60)
    told.counts.placed_again(["b", "c"])
    assert told.edge("b>c", 0, 0) == (100, 60)
    assert told.edge("b>c", 50, 45) == (110, 105)
    told.counts.placed_again(["c"])
    assert told.edge("b>c", 50, 50) == (110, 110)


def test_an_edge_goes_on_when_its_producer_is_placed_again_and_counts_from_there_when_its_consumer_is() -> None:
    told = Told()
    told.edge("b>c", 100, 60)
    told.counts.placed_again(["b"])
    assert told.edge("b>c", 130, 100) == (130, 100)
    told.counts.placed_again(["c"])
    assert told.edge("b>c", 20, 20) == (130, 120)


def test_firings_go_on() -> None:
    told = Told()
    assert told.node("b", 7, 2) == (7, 2)
    told.counts.placed_again(["b"])
    told.counts.placed_again(["b"])
    assert told.node("b", 0) == (7, 2)
    assert told.node("b", 3, 1) == (10, 3)
    assert told.node("c", 1) == (1, 0)
