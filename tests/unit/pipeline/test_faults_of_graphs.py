"""Every fault class of a pipeline: pointer, reason, hint; all of them at once."""

import time
from typing import Any

import pytest
from google.rpc import error_details_pb2
from lanemesh.v1 import node_pb2, run_pb2
from lanemesh_orchestrator.pipeline import PipelineFault, PipelineInvalid, Severity, validate

from unit.pipeline.documents import build, component, faults_of, helps, manifests, reasons, sends, takes, write

CHAT = component("chat_1", "chat")
LLM = component("llm_1", "llm_llamacpp", "questions chat_1")
OUT = component("out", "response", "answers llm_1")
AGENT = component("agent_1", "agent_wave", "questions chat_1")
HELPING_LLM = component("llm_2", "llm_llamacpp", control=helps("agent_1", "llm"))
SHOUT = component("s", "shout", "text chat_1")


def entry(producer: str, port: str) -> dict[str, str]:
    """An input of data."""
    return {"lane": "data", "from": producer, "input": port}


TWO = [component("c", "countdown"), component("d", "countdown")]
SUMS = [component(name, "add", input=[entry("c", "a"), entry("d", "b")]) for name in "st"]

ONE_FAULT: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str, str, str]] = {
    "duplicate id": (
        [CHAT, LLM, component("llm_1", "chat")],
        {"source": "chat_1"},
        "/components/2/id",
        "duplicate-id",
        "",
    ),
    "dangling from": (
        [CHAT, component("llm_1", "llm_llamacpp", "questions chat_l")],
        {},
        "/components/1/input/0/from",
        "dangling-reference",
        "Nearest: chat_1",
    ),
    "dangling source": ([CHAT, LLM], {"source": "chat"}, "/source", "dangling-reference", "chat_1"),
    "dangling control": (
        [CHAT, LLM, component("llm_2", "llm_llamacpp", control=helps("nobody", "llm"))],
        {},
        "/components/2/control/0/from",
        "dangling-reference",
        "Components: chat_1",
    ),
    "unknown provider": (
        [CHAT, component("llm_1", "llm_lamacpp", "questions chat_1")],
        {},
        "/components/1/provider",
        "unknown-provider",
        "Nearest: llm_llamacpp",
    ),
    "unknown output": (
        [CHAT, component("s", "shout", input=[{"lane": "text", "from": "chat_1", "output": "texts"}])],
        {},
        "/components/1/input/0/output",
        "unknown-port",
        "Nearest: text",
    ),
    "unknown input": (
        [component("c", "constant"), component("add", "add", input=[{"lane": "data", "from": "c", "input": "z"}])],
        {},
        "/components/1/input/0/input",
        "unknown-port",
        "a (data), b (data)",
    ),
    "unknown lane": (
        [CHAT, component("llm_1", "llm_llamacpp", "question chat_1")],
        {},
        "/components/1/input/0/lane",
        "unknown-lane",
        "Nearest: questions",
    ),
    "an output taken for a lane": (
        [CHAT, component("s", "shout", "text chat_1"), component("out", "response", "shouted s")],
        {},
        "/components/2/input/0/lane",
        "unknown-lane",
        '"lane": "text", "output": "shouted"',
    ),
    "several inputs of one lane": (
        [component("c", "constant"), component("add", "add", "data c")],
        {},
        "/components/1/input/0/lane",
        "ambiguous-port",
        'Add "input": one of a, b',
    ),
    "lane mismatch": (
        [CHAT, component("llm_1", "llm_llamacpp", "text chat_1")],
        {},
        "/components/1/input/0/lane",
        "lane-mismatch",
        'write "lane": "questions"',
    ),
    "lane mismatch by config": (
        [CHAT, LLM, component("out", "response", "answers llm_1", config={"lane": "text"})],
        {},
        "/components/2/input/0/lane",
        "lane-mismatch",
        "answers",
    ),
    "missing helper": ([CHAT, AGENT], {}, "/components/1", "missing-helper", '"classType": "llm", "from": "agent_1"'),
    "surplus helper": (
        [CHAT, AGENT, HELPING_LLM, {**HELPING_LLM, "id": "llm_3"}],
        {},
        "/components/3/control/0",
        "surplus-helper",
        "Keep at most 1",
    ),
    "helper of who calls none": (
        [CHAT, LLM, component("llm_2", "llm_llamacpp", control=helps("llm_1", "llm"))],
        {},
        "/components/2/control/0/from",
        "surplus-helper",
        "calls no helpers",
    ),
    "incapable helper": (
        [CHAT, AGENT, component("llm_2", "llm_llamacpp", control=helps("agent_1", "tool"))],
        {},
        "/components/2/control/0/classType",
        "incapable-helper",
        '"classType": "llm"',
    ),
    "helper twice": (
        [CHAT, AGENT, {**HELPING_LLM, "control": helps("agent_1", "llm") * 2}],
        {},
        "/components/2/control/1",
        "duplicate-control",
        "Remove it",
    ),
    "cycle": (
        [CHAT, component("a", "shout", "text chat_1", "text b"), component("b", "shout", "text a")],
        {},
        "/components/1/input/1/from",
        "cycle",
        "Remove one of these edges",
    ),
    "cycle of agents": (
        [
            component("agent_2", "agent_wave", control=helps("agent_3", "tool")),
            component("agent_3", "agent_wave", control=helps("agent_2", "tool")),
            component("llm_2", "llm_llamacpp", control=helps("agent_2", "llm") + helps("agent_3", "llm")),
            CHAT,
        ],
        {},
        "/components/0/control/0/from",
        "cycle",
        "control connections",
    ),
    "the same edge twice": (
        [CHAT, component("out", "response", "questions chat_1", "questions chat_1")],
        {},
        "/components/1/input/1",
        "duplicate-edge",
        "Remove this entry",
    ),
    "no source": ([HELPING_LLM | {"control": helps("x", "llm")}], {}, "/components", "no-source", "chat"),
    "a source that is none": ([CHAT, LLM], {"source": "llm_1"}, "/source", "not-a-source", "chat_1"),
    "bad config": (
        [CHAT, LLM | {"config": {"temperature": "hot"}}],
        {},
        "/components/1/config/temperature",
        "bad-config",
        "",
    ),
    "unknown key of a config": (
        [CHAT, LLM | {"config": {"temprature": 1}}],
        {},
        "/components/1/config/temprature",
        "unknown-config-key",
        "Nearest: temperature",
    ),
    "missing key of a config": (
        [CHAT, AGENT, HELPING_LLM, component("t", "tool_python", control=helps("agent_1", "tool"))],
        {},
        "/components/3/config",
        "missing-config-key",
        'Add "file"',
    ),
    "required input unconnected": (
        [CHAT, OUT | {"input": []}],
        {},
        "/components/1",
        "required-input-unconnected",
        "input",
    ),
    "join of one input": (
        [CHAT, LLM | {"sync_mode": "join"}],
        {},
        "/components/1",
        "join-inputs",
        "Connect another input",
    ),
    "a fork for who does not join": (
        [CHAT, LLM | {"join_on": "chat_1.questions"}],
        {},
        "/components/1/join_on",
        "bad-value",
        '"sync_mode": "join"',
    ),
    "join without a fork": (
        [*TWO, component("j", "add", input=[entry("c", "a"), entry("d", "b")], sync_mode="join")],
        {},
        "/components/2",
        "join-no-fork",
        "zip_all",
    ),
    "join with several forks": (
        [*TWO, *SUMS, component("j", "add", input=[entry("s", "a"), entry("t", "b")], sync_mode="join")],
        {},
        "/components/4",
        "join-ambiguous",
        '"join_on": "c.data"',
    ),
    "join on what is no common fork": (
        [
            *TWO,
            *SUMS,
            component("j", "add", input=[entry("s", "a"), entry("c", "b")], sync_mode="join", join_on="d.data"),
        ],
        {},
        "/components/4/join_on",
        "join-no-fork",
        "Nearest: c.data",
    ),
    "join on nothing": (
        [
            *TWO,
            *SUMS,
            component("j", "add", input=[entry("s", "a"), entry("c", "b")], sync_mode="join", join_on="q.total"),
        ],
        {},
        "/components/4/join_on",
        "join-no-fork",
        "They descend from: c.data",
    ),
    "sync mode of run": (
        [CHAT, SHOUT | {"sync_mode": "join"}],
        {},
        "/components/1/sync_mode",
        "bad-value",
        "Remove it",
    ),
    "fork of run": ([CHAT, SHOUT | {"join_on": "a.b"}], {}, "/components/1/join_on", "bad-value", "Remove it"),
    "errors of run skipped": (
        [CHAT, SHOUT | {"on_error": "skip"}],
        {},
        "/components/1/on_error",
        "bad-value",
        "Remove it",
    ),
    "errors of run retried": (
        [CHAT, SHOUT | {"on_error": {"retry": {"attempts": 3}}}],
        {},
        "/components/1/on_error",
        "bad-value",
        "Remove it",
    ),
    "several firings of run": (
        [CHAT, SHOUT | {"concurrency": 2}],
        {},
        "/components/1/concurrency",
        "bad-value",
        "Remove it",
    ),
    "isolated run": ([CHAT, SHOUT | {"isolation": "process"}], {}, "/components/1/isolation", "bad-value", "Remove it"),
    "isolated helper": (
        [CHAT, AGENT, {**HELPING_LLM, "isolation": "process"}],
        {},
        "/components/2/isolation",
        "bad-value",
        "offer that by tool_pipeline",
    ),
    "placement of a boundary": (
        [CHAT | {"placement": {"labels": {"gpu": "a"}}}, LLM],
        {},
        "/components/0/placement",
        "bad-value",
        "Remove it",
    ),
}


@pytest.mark.conformance("PIPE-01")
@pytest.mark.parametrize("case", ONE_FAULT)
def test_a_fault_has_pointer_reason_and_hint(case: str) -> None:
    components, fields, pointer, reason, hint = ONE_FAULT[case]
    faults = faults_of(*components, **fields)
    found = [fault for fault in faults if (fault.pointer, fault.reason) == (pointer, reason)]
    assert found, reasons(faults)
    assert found[0].hint
    assert hint in found[0].hint
    assert found[0].message.endswith(".")
    if case not in ("no source",):
        assert len(faults) == 1, reasons(faults)


@pytest.mark.conformance("RUN-06")
@pytest.mark.parametrize("policy", ["skip", {"retry": {"attempts": 2, "backoff": 0}}])
def test_a_run_node_has_no_firings_that_could_be_skipped_or_retried(policy: Any) -> None:
    faults = faults_of(CHAT, SHOUT | {"on_error": policy})
    assert reasons(faults) == [("/components/1/on_error", "bad-value")]
    assert "in one call of `run`" in faults[0].message


@pytest.mark.conformance("PIPE-01")
def test_messages_name_what_is_meant() -> None:
    mismatch = faults_of(CHAT, component("llm_1", "llm_llamacpp", "text chat_1"))[0].message
    assert "chat_1 (chat) sends questions, text" in mismatch
    assert "llm_1 (llm_llamacpp) takes questions" in mismatch
    loop = faults_of(*ONE_FAULT["cycle"][0])[0].message
    assert "a → b → a" in loop
    assert "needs 1..1 llm and has 0" in faults_of(CHAT, AGENT)[0].message


@pytest.mark.conformance("PIPE-01")
def test_every_fault_of_a_document_is_reported_once() -> None:
    faults = faults_of(
        CHAT,
        component("llm_1", "llm_lamacpp", "questions chat_1"),
        component("chat_1", "constant"),
        component("llm_2", "llm_llamacpp", "questions chat_9"),
        component("llm_3", "llm_llamacpp", "text chat_1"),
        component("llm_4", "llm_llamacpp", "questions chat_1", config={"temperature": 3}),
        component("agent_1", "agent_wave", "questions chat_1"),
        component("a", "shout", "text b"),
        component("b", "shout", "text a"),
        component("out", "response"),
        component("s", "shout", "text chat_1", colour="red"),
        component("t", "tool_python", control=helps("agent_1", "memory"), config={"file": "f"}),
        source="chat_7",
    )
    assert len(faults) == 11
    assert reasons(faults) == [
        ("/components/1/provider", "unknown-provider"),
        ("/components/2/id", "duplicate-id"),
        ("/components/3/input/0/from", "dangling-reference"),
        ("/components/4/input/0/lane", "lane-mismatch"),
        ("/components/5/config/temperature", "bad-config"),
        ("/components/6", "missing-helper"),
        ("/components/7/input/0/from", "cycle"),
        ("/components/9", "required-input-unconnected"),
        ("/components/10/colour", "unknown-field"),
        ("/components/11/control/0/classType", "incapable-helper"),
        ("/source", "dangling-reference"),
    ]


@pytest.mark.conformance("PIPE-01")
def test_lockstep_over_reconverging_paths_is_a_warning() -> None:
    graph = build(
        component("count", "countdown"),
        component("tap", "add", input=[{"lane": "data", "from": "count", "input": "a"}]),
        component(
            "sum",
            "add",
            input=[{"lane": "data", "from": "count", "input": "a"}, {"lane": "data", "from": "tap", "input": "b"}],
            sync_mode="zip_all",
        ),
    )
    assert [(fault.pointer, fault.reason, fault.severity) for fault in graph.warnings] == [
        ("/components/2", "reconverging-zip", Severity.WARNING)
    ]
    assert "join" in graph.warnings[0].hint


def test_a_fault_does_not_bring_others_with_it() -> None:
    misspelt = faults_of(CHAT, AGENT, HELPING_LLM | {"control": helps("agent_l", "llm")})
    assert [fault.reason for fault in misspelt] == ["dangling-reference"]
    unfit = faults_of(CHAT, AGENT, HELPING_LLM | {"control": helps("agent_1", "lm")})
    assert [fault.reason for fault in unfit] == ["incapable-helper"]
    unread = faults_of(CHAT, AGENT, HELPING_LLM, component("llm_1", "llm_llamacpp", input=[{"lane": "questions"}]))
    assert [fault.reason for fault in unread] == ["missing-field"]


def test_one_wrong_entry_hides_no_other_input() -> None:
    wrong = [{"lane": "data", "from": "nobody", "input": "b"}]
    faults = faults_of(component("c", "constant"), component("add", "add", input=wrong))
    assert ("/components/1", "required-input-unconnected") in reasons(faults)


def test_a_helper_needs_no_inputs_but_cannot_feed_lanes() -> None:
    graph = build(CHAT, AGENT, HELPING_LLM, component("out", "response", "answers agent_1", "answers llm_2"))
    assert graph.components["llm_2"].helper
    assert [fault.reason for fault in graph.warnings] == ["idle-producer"]


def test_an_unfed_pipeline_may_start_by_itself() -> None:
    assert build(component("c", "countdown"), component("tap", "tap", "data c")).source is None
    assert build(CHAT, component("chat_2", "chat"), LLM, source="chat_1").source == "chat_1"
    assert build(CHAT, LLM, component("c", "countdown")).source == "chat_1"


def test_one_error_carries_them_all() -> None:
    error = PipelineInvalid([PipelineFault("/source", "x", f"Fault {number}.") for number in range(5)])
    assert str(error).startswith("The pipeline cannot run: 5 faults: at /source: Fault 0 (x); ")
    assert "and 2 more" in str(error)
    assert "\n" not in str(error)
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in error.to_status().details)
    assert [violation.field for violation in bad.field_violations] == ["/source"] * 5
    proto = PipelineFault("/\ud800", "r", "m", "h", Severity.WARNING).to_proto()
    assert proto.severity == run_pb2.SEVERITY_WARNING
    assert PipelineFault.from_proto(proto) == PipelineFault("/?", "r", "m", "h", Severity.WARNING)


def test_faults_of_a_huge_pipeline_are_bounded_in_number_and_time() -> None:
    text = write(*(component(f"llm_{index}", "llm_lamacpp", f"questions chat_{index}") for index in range(9_000)))
    start = time.thread_time()
    with pytest.raises(PipelineInvalid) as caught:
        validate(text, manifests())
    assert time.thread_time() - start < 20
    assert len(caught.value.faults) == 1_001
    assert sum(fault.reason == "more-faults" for fault in caught.value.faults) == 1


def test_a_broken_manifest_is_a_fault_and_no_crash() -> None:
    broken = node_pb2.Manifest(
        provider="broken", config_schema_json='{"type": "object", "properties": {"a": {"$ref": "http://x/y"}}}'
    )
    for schema in (broken.config_schema_json, '{"type": 7}', "[]", "no json"):
        manifest = node_pb2.Manifest(provider="broken", config_schema_json=schema, profiles_json="no json")
        with pytest.raises(PipelineInvalid) as caught:
            validate(write(component("b", "broken", config={"a": 1})), {"broken": manifest})
        assert [fault.reason for fault in caught.value.faults] == ["bad-manifest"]


@pytest.mark.parametrize("wrong", [{"buffer_limit": 0}, {"buffer_bytes": "1"}, {"merge": "no"}, {"sixe": 1}])
def test_an_edge_with_a_wrong_number_and_an_unknown_port_has_both_faults(wrong: dict[str, Any]) -> None:
    edge = {"lane": "data", "from": "c", "input": "z"} | wrong
    faults = faults_of(component("c", "constant"), component("add", "add", input=[edge]))
    place = "/components/1/input/0"
    assert {f"{place}/input", f"{place}/{next(iter(wrong))}"} <= {fault.pointer for fault in faults}


def test_an_edge_whose_port_cannot_be_read_has_no_faults_that_follow_from_it() -> None:
    edge = {"lane": "data", "from": "c", "inputt": "a"}
    faults = faults_of(component("c", "constant"), component("add", "add", input=[edge]))
    assert [fault.pointer for fault in faults] == ["/components/1/input/0/inputt"]


def test_a_helper_of_a_class_that_is_not_served_is_a_fault_that_names_those_that_are() -> None:
    types = {
        **manifests(),
        "remembering": node_pb2.Manifest(provider="remembering", offers=["oracle", "tool"]),
        "forgetful": node_pb2.Manifest(
            provider="forgetful",
            inputs=[takes("text", "text")],
            outputs=[sends("out", "text")],
            invokes=[node_pb2.Invocation(class_type="oracle", min=1)],
        ),
    }
    document = write(
        component("chat", "chat"),
        component("f", "forgetful", "text chat"),
        component("m", "remembering", control=helps("f", "oracle")),
        component("out", "response", "text f"),
    )
    with pytest.raises(PipelineInvalid) as caught:
        validate(document, types)
    assert reasons(caught.value.faults) == [
        ("/components/1", "unserved-class-type"),
        ("/components/2/control/0/classType", "unserved-class-type"),
    ]
    asked, offering = caught.value.faults
    served = 'cannot be called. Those that can be called: "llm", "tool", "memory", "agent".'
    assert asked.message == f'f (forgetful) needs a helper of the class "oracle", which {served}'
    assert offering.message == f'Helpers of the class "oracle" {served}'
    assert offering.hint == 'Write "classType": "tool".'
