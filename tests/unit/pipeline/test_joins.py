"""Forks of joins: which output it is, which edges carry its numbers, what is warned of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lanemesh.v1 import lane_pb2, node_pb2
from lanemesh_orchestrator.pipeline import Component, Edge, Graph, PipelineInvalid, Severity, joins, validate
from lanemesh_orchestrator.pipeline.joins import find_forks, output_of
from lanemesh_orchestrator.pipeline.multiplicity import single_item_inputs

from unit.pipeline.documents import build, component, manifests, sends, takes, write

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine may take its time."""

JOIN = node_pb2.SYNC_MODE_JOIN


def entry(producer: str, port: str) -> dict[str, str]:
    return {"lane": "data", "from": producer, "input": port}


def data(name: str, provider: str, *inputs: tuple[str, str], **fields: str) -> dict[str, object]:
    """A component whose inputs are pairs of port and producer."""
    return component(name, provider, input=[entry(producer, port) for port, producer in inputs], **fields)


def carried(graph: Graph) -> dict[str, list[str]]:
    """The edges that carry numbers, with their forks."""
    return {edge.id: list(edge.forks) for edge in graph.edges if edge.forks}


def test_the_fork_is_the_nearest_output_and_only_its_paths_carry_numbers() -> None:
    graph = build(
        data("source", "countdown"),
        data("fork", "add", ("a", "source")),
        data("left", "add", ("a", "fork")),
        data("right", "add", ("a", "fork")),
        data("j", "add", ("a", "left"), ("b", "right"), sync_mode="join"),
        data("tap", "tap", ("anything", "left")),
        data("after", "tap", ("anything", "j")),
    )
    assert graph.components["j"].join_on == "fork.total"
    assert graph.components["j"].sync_mode == JOIN
    assert carried(graph) == {
        "fork.total>left.a": ["fork.total"],
        "fork.total>right.a": ["fork.total"],
        "left.total>j.a": ["fork.total"],
        "right.total>j.b": ["fork.total"],
    }
    assert not graph.warnings


def test_joins_in_joins_carry_the_numbers_of_both_forks() -> None:
    graph = build(
        data("source", "countdown"),
        data("fork", "add", ("a", "source")),
        data("left", "add", ("a", "fork")),
        data("inner", "add", ("a", "left"), ("b", "fork"), sync_mode="join"),
        data("outer", "add", ("a", "inner"), ("b", "source"), sync_mode="join"),
    )
    assert {name: part.join_on for name, part in graph.components.items() if part.join_on} == {
        "inner": "fork.total",
        "outer": "source.data",
    }
    assert carried(graph) == {
        "source.data>fork.a": ["source.data"],
        "fork.total>left.a": ["fork.total", "source.data"],
        "left.total>inner.a": ["fork.total", "source.data"],
        "fork.total>inner.b": ["fork.total", "source.data"],
        "inner.total>outer.a": ["source.data"],
        "source.data>outer.b": ["source.data"],
    }


def test_one_of_several_forks_or_a_farther_one_can_be_named() -> None:
    def joined(on: str) -> str:
        graph = build(
            data("c", "countdown"),
            data("d", "countdown"),
            data("s", "add", ("a", "c"), ("b", "d")),
            data("t", "add", ("a", "s"), ("b", "d")),
            data("j", "add", ("a", "s"), ("b", "t"), sync_mode="join", join_on=on),
        )
        return graph.components["j"].join_on

    assert [joined(name) for name in ("s.total", "c.data", "d.data")] == ["s.total", "c.data", "d.data"]


def test_a_list_ends_a_path_and_one_item_beside_many_is_no_path() -> None:
    graph = build(
        data("once", "constant"),
        data("many", "countdown"),
        data("whole", "collect", ("data", "many")),
        data("left", "add", ("a", "many"), ("b", "whole")),
        data("right", "add", ("a", "many"), ("b", "once")),
        data("j", "add", ("a", "left"), ("b", "right"), sync_mode="join"),
        data("alone", "add", ("a", "once")),
        data("both", "add", ("a", "alone"), ("b", "many"), sync_mode="zip_all"),
    )
    assert graph.components["j"].join_on == "many.data"
    assert set(carried(graph)) == {"many.data>left.a", "many.data>right.a", "left.total>j.a", "right.total>j.b"}


def test_single_items_are_reused_and_need_no_fork() -> None:
    graph = build(
        data("once", "constant"),
        data("twice", "constant"),
        data("j", "add", ("a", "once"), ("b", "twice"), sync_mode="join"),
        data("z", "add", ("a", "j"), ("b", "once"), sync_mode="zip_all"),
    )
    assert graph.components["j"].join_on == ""
    assert list(graph.components["j"].single_item_inputs) == ["a", "b"]
    assert list(graph.components["z"].single_item_inputs) == ["a", "b"]  # a join of single items fires once
    assert not carried(graph)


@pytest.mark.parametrize(
    ("left", "right", "warned"),
    [
        (("add", "a", "many"), ("add", "a", "many"), False),
        (("split", "data", "many"), ("add", "a", "many"), False),
        (("split", "data", "many"), ("split", "data", "many"), True),
        (("split", "data", "many"), ("reads", "data", "many"), True),
        (("split", "data", "many"), ("both", "a", "many"), True),
    ],
)
def test_two_inputs_that_may_get_several_of_a_number_are_a_warning(
    left: tuple[str, str, str], right: tuple[str, str, str], warned: bool
) -> None:
    types = manifests()
    for name in ("split", "reads"):
        types[name] = node_pb2.Manifest(
            provider=name,
            inputs=[node_pb2.InputPort(name="data", lane_type=lane_pb2.LANE_TYPE_DATA, required=True)],
            outputs=types["constant"].outputs,
            is_streaming_output=name == "split",
            is_streaming_input=name == "reads",
        )
    sides = []
    for name, (provider, port, producer) in {"left": left, "right": right}.items():
        more = [("b", producer)] if provider == "both" else []  # fires on any: twice for a number
        sides.append(data(name, "add" if provider == "both" else provider, (port, producer), *more))
    joined = data("j", "add", ("a", "left"), ("b", "right"), sync_mode="join")
    warnings = validate(write(data("many", "countdown"), *sides, joined), types).warnings
    assert [(fault.pointer, fault.reason, fault.severity) for fault in warnings] == [
        ("/components/3", "join-several", Severity.WARNING)
    ] * warned
    if warned:
        assert "a, by left; b, by right" in warnings[0].message


def test_wholes_of_answers_descend_from_the_question_and_not_from_a_piece() -> None:
    types = manifests()
    types["edit"] = node_pb2.Manifest(
        provider="edit", inputs=[takes("answers", "answers")], outputs=[sends("answers", "answers")]
    )
    types["compare"] = node_pb2.Manifest(
        provider="compare",
        inputs=[takes("left", "answers", assembled=True), takes("right", "answers", assembled=True)],
        sync_mode=JOIN,
    )
    wiring = [
        {"lane": "answers", "from": "edit", "input": "left"},
        {"lane": "answers", "from": "llm", "input": "right"},
    ]
    parts = [
        component("chat", "chat"),
        component("llm", "llm_llamacpp", "questions chat"),
        component("edit", "edit", "answers llm"),
        component("compare", "compare", input=wiring),
    ]
    graph = validate(write(*parts), types)
    assert graph.components["compare"].join_on == "chat.questions"
    assert not graph.warnings
    types["compare"].inputs[1].assembled = types["compare"].inputs[0].assembled = False
    assert validate(write(*parts), types).components["compare"].join_on == "llm.answers"


KINDS = ("process", "generator", "run")


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, Component], list[Edge]]:
    """Components with edges from earlier ones, of which the last joins."""
    count = draw(st.integers(2, 7))
    components: dict[str, Component] = {}
    edges: list[Edge] = []
    for index in range(count):
        name = f"c{index}"
        last = index == count - 1
        kind = "process" if last else draw(st.sampled_from(KINDS))
        mode = JOIN if last else draw(st.sampled_from([node_pb2.SYNC_MODE_ON_ANY, node_pb2.SYNC_MODE_ZIP_ALL]))
        components[name] = Component(
            id=name,
            pointer=f"/components/{index}",
            manifest=node_pb2.Manifest(
                provider=kind,
                inputs=[
                    node_pb2.InputPort(name="a"),
                    node_pb2.InputPort(name="b"),
                    node_pb2.InputPort(name="l", list=True),
                ],
                outputs=[node_pb2.OutputPort(name="x"), node_pb2.OutputPort(name="y")],
                is_streaming_input=kind == "run",
                is_streaming_output=kind == "generator",
            ),
            sync_mode=mode,
        )
        for port in ("a", "b") if last else draw(st.sampled_from(["", "a", "a", "ab", "al", "l"])):
            for _ in range(draw(st.sampled_from([1, 1, 1, 2])) if index else 0):
                producer, output = f"c{draw(st.integers(0, index - 1))}", draw(st.sampled_from("xy"))
                edges.append(
                    Edge(
                        id=str(len(edges)),
                        producer=producer,
                        output=output,
                        consumer=name,
                        input=port,
                        input_port=port,
                        output_port=output,
                        lane_type=lane_pb2.LANE_TYPE_DATA,
                        pointer="",
                    )
                )
    ones = single_item_inputs(components, edges)
    return {name: replace(made, single_item_inputs=ones[name]) for name, made in components.items()}, edges


def naive_handing(components: dict[str, Component], edges: Sequence[Edge], name: str) -> list[Edge]:
    singles = [edge for edge in edges if edge.consumer == name and edge.input != "l"]
    many = [edge for edge in singles if edge.input not in components[name].single_item_inputs]
    return many if many else singles


def naive_paths(components: dict[str, Component], edges: Sequence[Edge], output: str, edge: Edge) -> list[list[Edge]]:
    """Every way by which an output's items come to an edge."""
    if output_of(edge) == output:
        return [[edge]]
    return [
        [*path, edge]
        for before in naive_handing(components, edges, edge.producer)
        for path in naive_paths(components, edges, output, before)
    ]


@UNHURRIED
@given(graphs())
def test_forks_are_those_of_the_plain_definition(graph: tuple[dict[str, Component], list[Edge]]) -> None:
    components, edges = graph
    join = list(components)[-1]
    many = [
        edge for edge in naive_handing(components, edges, join) if edge.input not in components[join].single_item_inputs
    ]
    outputs = {output_of(edge) for edge in edges}
    common = {
        output for output in outputs if many and all(naive_paths(components, edges, output, edge) for edge in many)
    }

    def descends(lower: str, upper: str) -> bool:
        tracker = naive_handing(components, edges, lower.partition(".")[0])
        return lower != upper and any(naive_paths(components, edges, upper, edge) for edge in tracker)

    nearest = {output for output in common if not any(descends(other, output) for other in common)}
    found = find_forks(components, edges)
    reasons = [fault.reason for fault in found.faults if fault.severity is Severity.ERROR]
    if not many:
        assert (reasons, found.components[join].join_on) == ([], "")
    elif len(nearest) != 1:
        assert reasons == ["join-ambiguous" if nearest else "join-no-fork"]
    else:
        assert (reasons, {found.components[join].join_on}) == ([], nearest)
    for named in outputs:
        chosen = find_forks(components, edges, {join: named})
        if named not in common:
            assert "join-no-fork" in [fault.reason for fault in chosen.faults]
            continue
        assert chosen.components[join].join_on == named
        on_paths = {edge.id for last in many for path in naive_paths(components, edges, named, last) for edge in path}
        assert {edge.id for edge in chosen.edges if edge.forks} == on_paths
        assert all(list(edge.forks) == [named] for edge in chosen.edges if edge.forks)


def test_a_long_chain_is_no_burden() -> None:
    """Neither deep nor slow: 3,000 components one behind the other."""
    chain = [data("c0", "countdown")] + [data(f"c{index}", "add", ("a", f"c{index - 1}")) for index in range(1, 3_000)]
    graph = build(*chain, data("j", "add", ("a", "c2999"), ("b", "c0"), sync_mode="join"))
    assert graph.components["j"].join_on == "c0.data"
    assert len(carried(graph)) == 3_001


def test_error_joins_with_too_many_edges_up_to_their_forks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "MAX_CARRYING", 10)
    chain = [data("c0", "countdown")] + [data(f"c{index}", "add", ("a", f"c{index - 1}")) for index in range(1, 4)]
    pairs = [data(f"j{index}", "add", ("a", "c3"), ("b", "c0"), sync_mode="join") for index in range(3)]
    assert len(carried(build(*chain, *pairs[:2]))) == 7
    with pytest.raises(PipelineInvalid) as caught:
        build(*chain, *pairs)
    (fault,) = caught.value.faults
    assert (fault.pointer, fault.reason) == ("/components", "too-large")
    assert "more than 10 edges between joins and their forks (MAX_CARRYING)" in fault.message
