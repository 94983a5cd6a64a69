"""Plans: the request to each node server; and drawings."""

import pytest
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator.pipeline import Graph, ServerAddress, plan
from lanemesh_orchestrator.pipeline.drawing import draw, draw_shapes

from unit.pipeline.documents import build, component, helps

HERE, THERE = ServerAddress("orchestrator", "127.0.0.1:1"), ServerAddress("llm", "127.0.0.1:2")


def agent_graph() -> Graph:
    return build(
        component("chat_1", "chat"),
        component("agent_1", "agent_wave", "questions chat_1", timeout=1.5, concurrency=4),
        component("llm_1", "llm_llamacpp", config={"profile": "tiny"}, control=helps("agent_1", "llm")),
        component("tool_1", "tool_python", config={"file": "f"}, control=helps("agent_1", "tool")),
        component("out", "response", "answers agent_1", config={"lane": "answers"}),
        timeout=60,
    )


def test_each_server_gets_what_touches_it() -> None:
    servers = dict.fromkeys(("chat_1", "tool_1", "out"), HERE) | dict.fromkeys(("agent_1", "llm_1"), THERE)
    places = plan(agent_graph(), servers, run_id="run-1")
    here, there = places["orchestrator"], places["llm"]
    assert {place.run_id for place in places.values()} == {"run-1"}
    assert [instance.component for instance in here.instances] == ["chat_1", "tool_1", "out"]
    assert [instance.component for instance in there.instances] == ["agent_1", "llm_1"]
    edges = ["chat_1.questions>agent_1.questions", "agent_1.answers>out.answers"]
    assert [edge.id for edge in here.edges] == edges == [edge.id for edge in there.edges]
    assert [edge.consumer_address for edge in here.edges] == ["127.0.0.1:2", "127.0.0.1:1"]
    assert (here.edges[0].producer_server, here.edges[0].consumer_server) == ("orchestrator", "llm")
    assert (here.edges[0].limit_items, here.edges[0].limit_bytes) == (4096, 1 << 20)
    assert not here.controls
    assert [(control.helper, control.helper_provider, control.helper_address) for control in there.controls] == [
        ("llm_1", "llm_llamacpp", ""),
        ("tool_1", "tool_python", "127.0.0.1:1"),
    ]
    agent, llm = there.instances
    assert (agent.timeout.ToTimedelta().total_seconds(), agent.concurrency, agent.helper) == (1.5, 4, False)
    assert (llm.provider, llm.config_json, llm.helper) == ("llm_llamacpp", '{"model": "tiny"}', True)
    assert here.timeout.seconds == 60


def test_the_firing_settings_are_in_the_plan() -> None:
    def entry(producer: str, port: str, **fields: str) -> dict[str, str]:
        return {"lane": "data", "from": producer, "input": port, **fields}

    graph = build(
        component("c", "countdown", on_error="skip", isolation="thread"),
        component("s", "add", input=[entry("c", "a", merge="group")], isolation="process"),
        component(
            "j",
            "add",
            input=[entry("s", "a"), entry("c", "b")],
            sync_mode="join",
            on_error={"retry": {"attempts": 3, "backoff": 0.5}},
        ),
    )
    place = plan(graph, dict.fromkeys(graph.components, HERE), run_id="r")["orchestrator"]
    source, branch, join = place.instances
    assert (source.on_error.policy, source.isolation) == (node_pb2.OnError.POLICY_SKIP, node_pb2.ISOLATION_THREAD)
    assert (branch.HasField("on_error"), branch.isolation) == (False, node_pb2.ISOLATION_PROCESS)
    assert (join.sync_mode, join.join_on) == (node_pb2.SYNC_MODE_JOIN, "c.data")
    assert (join.on_error.policy, join.on_error.attempts) == (node_pb2.OnError.POLICY_RETRY, 3)
    assert join.on_error.backoff.ToMilliseconds() == 500
    assert [list(edge.forks) for edge in place.edges] == [["c.data"]] * 3
    assert [edge.serialize_groups for edge in place.edges] == [True, False, False]


def test_a_single_server_dials_no_other() -> None:
    graph = agent_graph()
    places = plan(graph, dict.fromkeys(graph.components, ServerAddress("all", "")), run_id="r", timeout=0.25)
    assert list(places) == ["all"]
    assert [edge.consumer_address for edge in places["all"].edges] == ["", ""]
    assert [edge.limit_items for edge in places["all"].edges] == [1024, 1024]
    assert [control.helper_address for control in places["all"].controls] == ["", ""]
    assert len(places["all"].edges) == 2
    assert places["all"].timeout.nanos == 250_000_000


def test_impossible_placements_are_refused() -> None:
    graph = agent_graph()
    with pytest.raises(ValueError, match="No node server is assigned to: chat_1"):
        plan(graph, {}, run_id="r")
    everywhere = dict.fromkeys(graph.components, HERE)
    with pytest.raises(ValueError, match="has no address"):
        plan(graph, everywhere | {"llm_1": ServerAddress("llm", "")}, run_id="r")
    with pytest.raises(ValueError, match="Two node servers"):
        plan(graph, everywhere | {"llm_1": ServerAddress("orchestrator", "other:1")}, run_id="r")


def test_a_chain_is_one_line() -> None:
    graph = build(
        component("chat_1", "chat"),
        component("llm_1", "llm_llamacpp", "questions chat_1"),
        component("response_1", "response", "answers llm_1"),
    )
    assert draw(graph) == "chat_1 ─questions→ llm_1 ─answers→ response_1"
    assert draw(graph, width=40).splitlines() == ["chat_1 ─questions→ llm_1", "    ─answers→ response_1"]


def test_branches_helpers_and_several_lanes() -> None:
    graph = build(
        component("chat_1", "chat"),
        component("agent_1", "agent_wave", "questions chat_1"),
        component("llm_1", "llm_llamacpp", control=helps("agent_1", "llm")),
        component("tool_1", "tool_python", config={"file": "f"}, control=helps("agent_1", "tool")),
        component("llm_2", "llm_llamacpp", "questions chat_1"),
        component("out", "response", "answers agent_1", "text agent_1", "answers llm_2"),
        component("c", "constant"),
        component(
            "add",
            "add",
            input=[{"lane": "data", "from": "c", "input": "a"}, {"lane": "data", "from": "c", "input": "b"}],
        ),
        component("alone", "countdown"),
    )
    expected = [
        "chat_1 ─questions→ agent_1 ─answers, text→ out",
        "chat_1 ─questions→ llm_2 ─answers→ out",
        "c ─data:a, data:b→ add",
        "alone",
        "agent_1 ⇢ llm_1 (llm), tool_1 (tool)",
    ]
    assert draw(graph).splitlines() == expected
    assert draw_shapes(graph.shapes()).splitlines() == [line for line in expected if line != "alone"]
