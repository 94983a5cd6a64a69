"""What a run takes of a pipeline with several sources."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lanemesh.pipeline_faults import PipelineFault, PipelineInvalid, Severity
from lanemesh.v1 import lane_pb2, node_pb2, run_pb2
from lanemesh_orchestrator.pipeline import Graph, parts, run_graph, run_graph_of, validate
from lanemesh_orchestrator.pipeline.parts import MAX_SOURCES

TEXT, DATA = lane_pb2.LANE_TYPE_TEXT, lane_pb2.LANE_TYPE_DATA


def types(*manifests: node_pb2.Manifest) -> dict[str, node_pb2.Manifest]:
    return {manifest.provider: manifest for manifest in manifests}


def inputs(*ports: tuple[str, int], required: bool = True) -> list[node_pb2.InputPort]:
    return [node_pb2.InputPort(name=name, lane_type=lane, required=required) for name, lane in ports]  # type: ignore[arg-type]


OUT = [node_pb2.OutputPort(name="text", lane_type=TEXT), node_pb2.OutputPort(name="data", lane_type=DATA)]
TYPES = types(
    node_pb2.Manifest(provider="chat", outputs=OUT, boundary=node_pb2.BOUNDARY_SOURCE),
    node_pb2.Manifest(provider="webhook", outputs=OUT, boundary=node_pb2.BOUNDARY_SOURCE),
    node_pb2.Manifest(provider="clock", outputs=OUT, feeds_itself=True, is_streaming_input=True),
    node_pb2.Manifest(provider="constant", outputs=OUT),
    node_pb2.Manifest(provider="step", inputs=inputs(("text", TEXT)), outputs=OUT),
    node_pb2.Manifest(provider="store", inputs=inputs(("text", TEXT), ("data", DATA), required=False), outputs=OUT),
    node_pb2.Manifest(provider="pair", inputs=inputs(("text", TEXT), ("data", DATA)), outputs=OUT),
    node_pb2.Manifest(
        provider="agent",
        inputs=inputs(("text", TEXT)),
        outputs=OUT,
        invokes=[node_pb2.Invocation(class_type="llm", min=0)],
    ),
    node_pb2.Manifest(provider="model", inputs=inputs(("text", TEXT)), outputs=OUT, offers=["llm"]),
    node_pb2.Manifest(provider="heavy", inputs=inputs(("text", TEXT)), outputs=OUT, missing_packages=["absent"]),
    node_pb2.Manifest(provider="out", inputs=inputs(("text", TEXT)), boundary=node_pb2.BOUNDARY_TARGET),
)


def part(name: str, provider: str, *edges: str, helps: str = "") -> dict[str, Any]:
    """A component with edges such as "text a" and an invoker."""
    found: dict[str, Any] = {"id": name, "provider": provider}
    found["input"] = [dict(zip(("lane", "from"), edge.split(), strict=True)) for edge in edges]
    if helps:
        found["control"] = [{"classType": "llm", "from": helps}]
    return found


def graph_of(*components: dict[str, Any], run: str = "", **fields: Any) -> Graph:
    text = json.dumps({"components": components, **fields})
    return validate(text, TYPES, source=run)


INGEST_AND_ASK = (
    part("hook", "webhook"),
    part("read", "step", "text hook"),
    part("embed", "step", "text read", "text chat"),
    part("store", "store", "data embed", "text chat"),
    part("chat", "chat"),
    part("ask", "agent", "text store"),
    part("model", "model", helps="ask"),
    part("answer", "out", "text ask"),
)


def test_a_run_takes_what_its_source_reaches_and_the_helpers_of_that() -> None:
    whole = graph_of(*INGEST_AND_ASK)
    assert (whole.source, whole.sources, whole.default_source) == (None, ["hook", "chat"], None)
    ingest, ask = run_graph(whole, "hook"), run_graph(whole, "chat")
    assert list(ingest.components) == ["hook", "read", "embed", "store", "ask", "model", "answer"]
    assert list(ask.components) == ["embed", "store", "chat", "ask", "model", "answer"]
    assert (ingest.source, ask.source) == ("hook", "chat")
    assert [edge.id for edge in ask.edges] == [
        "chat.text>embed.text",
        "embed.data>store.data",
        "chat.text>store.text",
        "store.text>ask.text",
        "ask.text>answer.text",
    ]
    assert [(one.invoker, one.helper) for one in ask.controls] == [("ask", "model")]
    assert not ask.parts


def test_without_a_name_the_fault_lists_the_sources() -> None:
    with pytest.raises(PipelineInvalid) as caught:
        run_graph(graph_of(*INGEST_AND_ASK))
    (fault,) = caught.value.faults
    assert fault.reason == "several-sources"
    assert "hook, chat" in fault.message
    assert "--source hook" in fault.hint
    with pytest.raises(PipelineInvalid) as caught:
        run_graph(graph_of(*INGEST_AND_ASK), "ask")
    assert caught.value.faults[0].reason == "not-a-source"


def test_the_document_names_the_default_and_a_run_overrides_it() -> None:
    whole = graph_of(*INGEST_AND_ASK, source="chat")
    assert run_graph(whole).source == "chat"
    assert run_graph(whole, "hook").source == "hook"


def test_a_turn_of_a_conversation_takes_the_chat() -> None:
    whole = graph_of(*INGEST_AND_ASK, source="hook")
    turn = run_pb2.RunSpec(session_id="s", conversation=run_pb2.Conversation())
    assert run_graph_of(whole, turn).source == "chat"
    assert run_graph_of(whole, run_pb2.RunSpec()).source == "hook"


def test_the_only_source_that_clients_feed_is_the_default_beside_those_that_feed_themselves() -> None:
    whole = graph_of(
        part("clock", "clock"),
        part("tick", "out", "text clock"),
        part("chat", "chat"),
        part("answer", "out", "text chat"),
    )
    assert whole.source == whole.default_source == "chat"
    assert list(run_graph(whole).components) == ["chat", "answer"]
    ticking = run_graph(whole, "clock")
    assert (ticking.source, list(ticking.components)) == (None, ["clock", "tick"])


def test_a_component_without_a_source_runs_with_what_it_feeds() -> None:
    whole = graph_of(
        part("hook", "webhook"),
        part("chat", "chat"),
        part("words", "constant"),
        part("both", "pair", "text chat", "data words"),
        part("other", "constant"),
        part("hooked", "pair", "text hook", "data other"),
        part("alone", "constant"),
    )
    assert list(run_graph(whole, "chat").components) == ["chat", "words", "both", "alone"]
    assert list(run_graph(whole, "hook").components) == ["hook", "other", "hooked", "alone"]


def needing_both(run: str = "", **fields: Any) -> Graph:
    return graph_of(
        part("hook", "webhook"),
        part("chat", "chat"),
        part("both", "pair", "text chat", "data hook"),
        part("answer", "out", "text chat"),
        run=run,
        **fields,
    )


def test_a_required_input_whose_producers_are_left_out_is_a_fault_that_names_them() -> None:
    with pytest.raises(PipelineInvalid) as caught:
        needing_both()
    assert {(fault.pointer, fault.reason) for fault in caught.value.faults} == {
        ("/components/2", "required-input-left-out")
    }
    messages = [fault.message for fault in caught.value.faults]
    assert any(
        'needs "data", which comes from hook: a run of the source chat leaves that out' in one for one in messages
    )


def test_a_fault_of_another_source_is_a_warning_or_does_not_matter() -> None:
    components = (
        part("hook", "webhook"),
        part("big", "heavy", "text hook"),
        part("chat", "chat"),
        part("answer", "out", "text chat"),
    )
    with pytest.raises(PipelineInvalid) as caught:
        graph_of(*components)
    assert [fault.reason for fault in caught.value.faults] == ["missing-extra"]
    whole = graph_of(*components, source="chat")
    assert [(fault.reason, fault.severity) for fault in whole.warnings] == [("missing-extra", Severity.WARNING)]
    assert run_graph(whole).source == "chat"
    with pytest.raises(PipelineInvalid):
        run_graph(whole, "hook")
    assert not graph_of(*components, run="chat").warnings
    with pytest.raises(PipelineInvalid):
        graph_of(*components, run="hook")


def test_a_fed_helper_that_loses_its_lanes_only_helps() -> None:
    whole = graph_of(
        part("hook", "webhook"),
        part("chat", "chat"),
        part("ask", "agent", "text chat"),
        part("model", "model", "text hook", helps="ask"),
        part("answer", "out", "text ask"),
    )
    assert run_graph(whole, "chat").components["model"].helper
    assert not run_graph(whole, "hook").components["model"].helper
    assert list(run_graph(whole, "hook").components) == ["hook", "model"]


def test_the_number_of_sources_is_bounded() -> None:
    with pytest.raises(PipelineInvalid) as caught:
        graph_of(*(part(f"hook_{number}", "webhook") for number in range(MAX_SOURCES + 1)))
    faults: tuple[PipelineFault, ...] = caught.value.faults
    assert [fault.reason for fault in faults] == ["too-large"]


def test_the_components_of_all_parts_are_bounded_unless_the_run_names_its_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "MAX_PART_COMPONENTS", 10)
    with pytest.raises(PipelineInvalid) as caught:
        graph_of(*INGEST_AND_ASK)
    (fault,) = caught.value.faults
    assert (fault.pointer, fault.reason) == ("/components", "too-large")
    assert "MAX_PART_COMPONENTS" in fault.message
    assert len(run_graph(graph_of(*INGEST_AND_ASK, run="chat"), "chat").components) == 6


def test_a_run_that_names_its_source_has_no_other_part() -> None:
    assert list(graph_of(*INGEST_AND_ASK, run="chat").parts) == ["chat"]


def test_a_long_name_of_a_source_is_cut_in_the_fault() -> None:
    for whole in (graph_of(*INGEST_AND_ASK), graph_of(*INGEST_AND_ASK, run="x" * 100_000)):
        with pytest.raises(PipelineInvalid) as caught:
            run_graph(whole, "x" * 100_000)
        assert caught.value.faults[0].reason == "not-a-source"
        assert len(caught.value.faults[0].message) < 200
