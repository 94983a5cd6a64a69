"""The servers that keep a pipeline warm, and their requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lanemesh.features import FEATURES
from lanemesh.v1 import node_pb2, registry_pb2
from lanemesh_orchestrator.pipeline import Graph
from lanemesh_orchestrator.registry.member import Member
from lanemesh_orchestrator.scheduling.warm_targets import MAX_SERVERS, places, servers_of

from unit.pipeline.documents import build, component

GRAPH = build(
    component("chat_1", "chat"),
    component("llm_1", "llm_llamacpp", "questions chat_1", config={"model": "m"}),
    component("shout_1", "shout", "text llm_1"),
    component("out_1", "response", "text shout_1", config={"lane": "text"}),
)
SERVERS = {"both": {"llm_llamacpp", "shout"}, "llm": {"llm_llamacpp"}, "text": {"shout"}}


def member(name: str, providers: Collection[str]) -> Member:
    """A node server with these node types."""
    manifests = [node_pb2.Manifest(provider=provider) for provider in providers]
    return Member(registry_pb2.ServerInfo(name=name, manifests=manifests, features=sorted(FEATURES)))


def where(
    servers: Mapping[str, Collection[str]] = SERVERS,
    *,
    embedded: bool = False,
    homes: Mapping[str, str] | None = None,
    kept: Collection[str] = (),
    graph: Graph = GRAPH,
) -> dict[str, list[str]]:
    """Where the components of a chat are kept."""
    there = [member(name, providers) for name, providers in servers.items()]
    return servers_of(graph, there, local="here", embedded=embedded, homes=homes or {}, kept=kept)


def test_components_are_kept_on_every_server_that_may_run_them() -> None:
    assert where() == {"chat_1": ["here"], "llm_1": ["both", "llm"], "shout_1": ["both", "text"], "out_1": ["here"]}


def test_all_are_kept_here_in_an_embedded_mesh() -> None:
    assert set(map(tuple, where(embedded=True).values())) == {("here",)}


def test_components_with_a_home_are_kept_there_alone() -> None:
    found = where(homes={"llm_1": "llm", "shout_1": "both"}, embedded=True)
    assert (found["llm_1"], found["shout_1"]) == (["llm"], ["both"])
    assert where(homes={"llm_1": "gone"})["llm_1"] == []


def test_a_component_without_a_server_has_none() -> None:
    assert where({"llm": SERVERS["llm"]})["shout_1"] == []


def test_a_server_that_takes_no_runs_keeps_nothing() -> None:
    drains, unreachable, fine = (member(name, {"llm_llamacpp"}) for name in "abc")
    drains.draining, unreachable.unreachable = True, "nobody answers"
    found = servers_of(GRAPH, [drains, unreachable, fine], local="here", embedded=False, homes={})
    assert found["llm_1"] == ["c"]


def test_of_many_servers_those_that_are_warm_already_stay() -> None:
    many = {f"s{number}": {"llm_llamacpp", "shout"} for number in range(20)}
    assert where(many)["llm_1"] == [f"s{number}" for number in range(MAX_SERVERS)]
    assert where(many, kept={"s19", "s3"})["llm_1"] == ["s3", "s19", *(f"s{number}" for number in (0, 1, 2, 4, 5, 6))]


def test_the_request_to_a_server_has_its_components_and_no_run() -> None:
    told = places(GRAPH, where())
    assert {name: [instance.component for instance in place.instances] for name, place in told.items()} == {
        "here": ["chat_1", "out_1"],
        "both": ["llm_1", "shout_1"],
        "llm": ["llm_1"],
        "text": ["shout_1"],
    }
    assert told["llm"].instances[0].config_json == '{"model": "m"}'
    assert all(place.keep_warm and not place.run_id and not place.edges for place in told.values())


def test_a_server_without_preload_gets_no_request() -> None:
    told = places(GRAPH, where(), without_preload={"llm", "here"})
    assert sorted(told) == ["both", "text"]
    assert {tuple(place.features) for place in told.values()} == {("preload",)}
