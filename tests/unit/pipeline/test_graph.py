"""What valid pipelines become: edges, lanes, limits, control connections, what comes once."""

import time
from dataclasses import replace

import pytest
from lanemesh.v1 import lane_pb2, node_pb2
from lanemesh_orchestrator.pipeline import Graph, validate
from lanemesh_orchestrator.pipeline.graph import MAX_DERIVED

from unit.pipeline.documents import build, component, faults_of, helps, manifests, reasons, write

CHAT = component("chat_1", "chat")


@pytest.mark.conformance("PIPE-03")
def test_fan_in_fan_out_and_several_lanes_between_two() -> None:
    graph = build(
        CHAT,
        component("llm_1", "llm_llamacpp", "questions chat_1"),
        component("llm_2", "llm_llamacpp", "questions chat_1"),
        component("out", "response", "answers llm_1", "text llm_1", "answers llm_2"),
    )
    assert [edge.id for edge in graph.edges] == [
        "chat_1.questions>llm_1.questions",
        "chat_1.questions>llm_2.questions",
        "llm_1.answers>out.answers",
        "llm_1.text>out.text",
        "llm_2.answers>out.answers",
    ]
    assert graph.edges[3].lane_type == lane_pb2.LANE_TYPE_TEXT
    assert graph.source == "chat_1"
    assert graph.targets == ["out"]
    assert graph.providers == ["chat", "llm_llamacpp", "response"]


def test_ports_are_found_by_lane_and_by_name() -> None:
    graph = build(
        component("c", "constant"),
        component(
            "add",
            "add",
            input=[
                {"lane": "data", "from": "c", "input": "a", "buffer_limit": 10, "buffer_bytes": 99},
                {"lane": "data", "from": "c", "output": "data", "input": "b"},
            ],
        ),
        component("tap", "tap", "data add"),
        component("out", "response", input=[{"lane": "data", "from": "add", "input": "data"}]),
    )
    assert [edge.id for edge in graph.edges] == [
        "c.data>add.a",
        "c.data>add.b",
        "add.total>tap.anything",
        "add.total>out.data",
    ]
    assert [(edge.limit_items, edge.limit_bytes) for edge in graph.edges[:2]] == [(10, 99), (None, 1024 * 1024)]


def test_a_second_input_of_a_lane_must_be_named_by_port() -> None:
    told = faults_of(component("c", "constant"), component("add", "add", "data c"))
    assert reasons(told) == [("/components/1/input/0/lane", "ambiguous-port")]


def test_helpers_and_sub_agents() -> None:
    graph = build(
        CHAT,
        component("agent_1", "agent_wave", "questions chat_1"),
        component("agent_2", "agent_wave", control=helps("agent_1", "tool")),
        component("llm_1", "llm_llamacpp", control=helps("agent_1", "llm") + helps("agent_2", "llm")),
        component("out", "response", "answers agent_1"),
    )
    assert [(control.invoker, control.helper, control.class_type) for control in graph.controls] == [
        ("agent_1", "agent_2", "tool"),
        ("agent_1", "llm_1", "llm"),
        ("agent_2", "llm_1", "llm"),
    ]
    assert [component.id for component in graph.components.values() if component.helper] == ["agent_2", "llm_1"]
    assert [(shape.producer, shape.consumer, shape.class_type) for shape in graph.shapes()[-3:]] == [
        ("agent_1", "agent_2", "tool"),
        ("agent_1", "llm_1", "llm"),
        ("agent_2", "llm_1", "llm"),
    ]


def test_what_comes_once_is_known_to_lockstep() -> None:
    def entry(source: str, port: str) -> dict[str, str]:
        return {"lane": "data", "from": source, "input": port}

    graph = build(
        component("once", "constant"),
        component("many", "countdown"),
        component("whole", "collect", "data many"),
        component("zip_ones", "add", input=[entry("once", "a"), entry("whole", "b")], sync_mode="zip_all"),
        component("zip_mixed", "add", input=[entry("zip_ones", "a"), entry("many", "b")], sync_mode="zip_all"),
        component("any", "add", input=[entry("zip_ones", "a"), entry("zip_mixed", "b")]),
        component(
            "both", "add", input=[entry("any", "a"), entry("once", "b"), entry("whole", "b")], sync_mode="zip_all"
        ),
    )
    ones = {name: list(component.single_item_inputs) for name, component in graph.components.items()}
    assert ones == {
        "once": [],
        "many": [],
        "whole": [],
        "zip_ones": ["a", "b"],
        "zip_mixed": ["a"],
        "any": ["a"],
        "both": [],
    }
    assert graph.components["zip_ones"].sync_mode == node_pb2.SYNC_MODE_ZIP_ALL
    assert graph.components["any"].sync_mode == node_pb2.SYNC_MODE_ON_ANY


def test_declared_multiplicities_count_more_than_what_is_worked_out() -> None:
    types = manifests()
    types["countdown"].outputs[0].multiplicity = node_pb2.MULTIPLICITY_ONE
    types["constant"].outputs[0].multiplicity = node_pb2.MULTIPLICITY_MANY
    text = write(
        component("c", "countdown"),
        component("d", "constant"),
        component(
            "add",
            "add",
            input=[{"lane": "data", "from": "c", "input": "a"}, {"lane": "data", "from": "d", "input": "b"}],
        ),
    )
    assert validate(text, types).components["add"].single_item_inputs == ["a"]


@pytest.mark.conformance("PIPE-04")
def test_two_hundred_components_validate_in_under_a_second() -> None:
    def pipeline(count: int) -> str:
        chain = [
            component(f"s_{index}", "shout", f"text {f's_{index - 1}' if index else 'chat_1'}")
            for index in range(count)
        ]
        models = [
            component(f"llm_{index}", "llm_llamacpp", "questions chat_1", config={"profile": "tiny", "temperature": 1})
            for index in range(count)
        ]
        return write(CHAT, *chain, *models)

    validate(pipeline(1), manifests())
    text, types = pipeline(100), manifests()
    taken = []
    for _ in range(3):
        start = time.thread_time()
        graph = validate(text, types)
        taken.append(time.thread_time() - start)
    assert len(graph.components) == 201
    assert min(taken) < 1


def test_a_chain_of_thousands_validates() -> None:
    chain = [component(f"s_{n}", "shout", f"text {f's_{n - 1}' if n else 'chat_1'}") for n in reversed(range(5_000))]
    assert len(validate(write(CHAT, *chain), manifests()).edges) == 5_000


def test_labels_of_a_component_are_those_of_its_placement_and_warn_where_they_choose_nothing() -> None:
    placed = component("llm_1", "llm_llamacpp", "questions chat_1", placement={"labels": {"gpu": "a100"}})
    text = write(CHAT, placed)
    graph = validate(text, manifests(), mesh="127.0.0.1:7070")
    assert graph.components["llm_1"].labels == {"gpu": "a100"}
    assert graph.components["chat_1"].labels == {}
    assert not graph.warnings
    (warning,) = validate(text, manifests()).warnings
    assert (warning.pointer, warning.reason) == ("/components/1/placement", "no-effect")
    assert "lanemesh run --mesh" in warning.hint


def test_what_is_derived_from_a_graph_is_derived_once_and_bounded() -> None:
    graph, derived = Graph(components={}), list[int]()

    def derive(number: int) -> int:
        def make() -> int:
            derived.append(number)
            return number

        return graph.once(number, make)

    assert [derive(1), derive(1)] == [1, 1]
    assert derived == [1]
    for number in range(2, MAX_DERIVED + 2):
        derive(number)
    derive(1)
    assert derived[-1] == 1
    assert len(graph._derived) == MAX_DERIVED
    assert replace(graph, name="other").once(1, lambda: 2) == 2
