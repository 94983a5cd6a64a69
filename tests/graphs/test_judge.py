"""The judge lets pass what the reference says, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lanemesh.faults import Code, Fault
from lanemesh.v1 import update_pb2

from graphs.found import graph
from graphs.interpret import Impossible, interpret
from graphs.judge import CANCELLED, COMPLETED, FAILED, Outcome, edge_id, judge, may_be_closed
from graphs.shapes import Component, Graph

INPUTS = [f"i{number}" for number in range(12)]
FEW = Component(id="n0", provider="process_a", settings={"drop": 3})
PIECES = Component(id="n1", provider="gen_a", settings={"fan": 3})
LINE = "chat>n0.a n0.out>n1.a n1.out>r0 n1.alt>r0 chat>r1"


def line(*, cancel_after: int | None = None) -> Graph:
    return graph(FEW, PIECES, edges=LINE, fed=len(INPUTS), cancel_after=cancel_after)


def right(graph: Graph, state: update_pb2.RunState.ValueType = COMPLETED) -> Outcome:
    """What comes of a run that does as it has to."""
    reading = interpret(graph, INPUTS)
    outcome = Outcome(state=state)
    for edge in graph.edges:
        if edge.consumer in graph.responses and (stream := reading.stream(edge)) is not None:
            outcome.outputs[edge.consumer].extend(item.value for item in stream.items)
    for edge in graph.edges:
        if (stream := reading.stream(edge)) is not None:
            count, name = len(stream.items), edge_id(graph, edge)
            outcome.edges[name] = update_pb2.EdgeUpdate(edge_id=name, sent=count, consumed=count, drained=True)
    for component in graph.components:
        part = reading.parts[component.id]
        outcome.nodes[component.id] = update_pb2.NodeUpdate(
            component=component.id,
            state=update_pb2.NODE_STATE_FAILED if part.fatal else update_pb2.NODE_STATE_COMPLETED,
            firings=len(part.firings),
            skipped_firings=part.dropped,
        )
        if part.fatal:
            message = f"Broken: {component.id} is broken"
            outcome.error = Fault(
                code=Code.UNKNOWN, reason="raised", message=message, details={"component": component.id}
            )
    return outcome


def test_what_is_right_passes() -> None:
    judge(line(), INPUTS, right(line()))


def lose(outcome: Outcome) -> None:
    outcome.outputs["r1"].pop()


def double(outcome: Outcome) -> None:
    outcome.outputs["r1"].append(outcome.outputs["r1"][-1])


def swap(outcome: Outcome) -> None:
    first, second, *rest = outcome.outputs["r1"]
    outcome.outputs["r1"][:] = [second, first, *rest]


def change(outcome: Outcome) -> None:
    outcome.outputs["r0"][0] += "!"


def skip(outcome: Outcome) -> None:
    outcome.nodes["n1"].state = update_pb2.NODE_STATE_SKIPPED


def leave_running(outcome: Outcome) -> None:
    outcome.nodes["n1"].state = update_pb2.NODE_STATE_RUNNING


def forget(outcome: Outcome) -> None:
    del outcome.nodes["n0"]


def miscount(outcome: Outcome) -> None:
    outcome.nodes["n0"].firings += 1


def skip_a_firing(outcome: Outcome) -> None:
    outcome.nodes["n0"].skipped_firings += 1


def leave_undrained(outcome: Outcome) -> None:
    outcome.edges["n0.out>n1.a"].drained = False


def take_too_little(outcome: Outcome) -> None:
    outcome.edges["n0.out>n1.a"].consumed -= 1


def send_too_much(outcome: Outcome) -> None:
    outcome.edges["n0.out>n1.a"].sent += 1
    outcome.edges["n0.out>n1.a"].consumed += 1


def cancel(outcome: Outcome) -> None:
    outcome.state = CANCELLED


def fail(outcome: Outcome) -> None:
    outcome.state = FAILED
    outcome.error = Fault(
        code=Code.UNKNOWN, reason="raised", message="Broken: n0 is broken", details={"component": "n0"}
    )


@pytest.mark.parametrize(
    "wrong",
    [
        *(lose, double, swap, change, skip, leave_running, forget, miscount, skip_a_firing),
        *(leave_undrained, take_too_little, send_too_much, cancel, fail),
    ],
)
def test_what_is_wrong_does_not(wrong: Callable[[Outcome], None]) -> None:
    outcome = right(line())
    wrong(outcome)
    with pytest.raises(Impossible):
        judge(line(), INPUTS, outcome)


def test_a_cancelled_run_delivers_a_beginning() -> None:
    cancelled = line(cancel_after=3)
    outcome = right(cancelled, CANCELLED)
    lose(outcome)
    judge(cancelled, INPUTS, outcome)
    change(outcome)
    with pytest.raises(Impossible):
        judge(cancelled, INPUTS, outcome)


def broken() -> Graph:
    return graph(Component(id="n0", provider="process_a", settings={"fail": 3}), PIECES, edges=LINE, fed=len(INPUTS))


def test_a_run_that_has_to_fail_fails_with_the_primary_cause() -> None:
    judge(broken(), INPUTS, right(broken(), FAILED))
    with pytest.raises(Impossible, match="should have failed"):
        judge(broken(), INPUTS, right(broken()))


@pytest.mark.parametrize(
    "error",
    [
        Fault(code=Code.UNKNOWN, reason="raised", message="Broken: n1 is broken", details={"component": "n1"}),
        Fault(code=Code.UNKNOWN, reason="raised", message="KeyError: 'n0'", details={"component": "n0"}),
        Fault(
            code=Code.UNKNOWN,
            reason="raised",
            message="Broken: n0 is broken",
            details={"component": "n0"},
            secondary=True,
        ),
        None,
    ],
)
def test_another_cause_is_wrong(error: Fault | None) -> None:
    outcome = right(broken(), FAILED)
    outcome.error = error
    with pytest.raises(Impossible):
        judge(broken(), INPUTS, outcome)


def test_only_what_nobody_takes_to_its_end_may_be_closed() -> None:
    take = Component(id="n2", provider="take", settings={"count": 1})
    taken = graph(FEW, PIECES, take, edges="chat>n0.a n0.out>n1.a n1.out>n2.a n2.out>r0", fed=12)
    assert may_be_closed(taken) == {"n0", "n1"}
    beside = graph(FEW, PIECES, take, edges="chat>n0.a n0.out>n1.a n1.out>n2.a n2.out>r0 n0.alt>r1", fed=12)
    assert may_be_closed(beside) == {"n1"}
    assert may_be_closed(line()) == set()
