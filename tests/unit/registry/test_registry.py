"""What the registry keeps of node servers: names, loads, and whose manifest is in force."""

from __future__ import annotations

import logging

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.v1 import node_pb2, registry_pb2
from lanemesh_orchestrator.registry.registry import Registry
from lanemesh_orchestrator.scheduling.requirements import NoServer


def manifest(provider: str, **fields: object) -> node_pb2.Manifest:
    return node_pb2.Manifest(provider=provider, **fields)  # type: ignore[arg-type]


def info(name: str, *manifests: node_pb2.Manifest, port: int = 1, **fields: object) -> registry_pb2.ServerInfo:
    return registry_pb2.ServerInfo(
        name=name,
        address=f"127.0.0.1:{port}",
        manifests=manifests,
        **fields,  # type: ignore[arg-type]
    )


ONE = manifest("x", version="1", description="Does x.", outputs=[node_pb2.OutputPort(name="out", description="x")])
LIKE_IT = manifest("x", version="2", description="Does x better.", outputs=[node_pb2.OutputPort(name="out")])
OTHER = manifest("x", version="1", description="Does x.", outputs=[node_pb2.OutputPort(name="outs")])


def test_the_first_manifest_is_in_force_while_its_server_is_there(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    first = registry.join(info("a", ONE, port=1))
    second = registry.join(info("b", OTHER, manifest("y"), port=2))
    registry.join(info("c", LIKE_IT, port=3))
    listed = {server.info.name: list(server.conflicting_providers) for server in registry.servers()}
    assert listed == {"a": [], "b": ["x"], "c": []}
    assert registry.manifests() == {"x": ONE, "y": manifest("y")}
    assert registry.choose("x", without=["a"]).name == "c"
    assert registry.choose("y") is second
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert 'b at 127.0.0.1:2 offers the node type "x" with another manifest than a' in warnings[0]

    registry.leave(first)
    assert registry.manifests()["x"] == OTHER
    assert registry.choose("x") is second
    assert [list(server.conflicting_providers) for server in registry.servers()] == [[], ["x"]]


def test_nobody_takes_the_place_of_the_orchestrator() -> None:
    chat = manifest("chat", boundary=node_pb2.BOUNDARY_SOURCE)
    registry = Registry(lambda: [chat])
    registry.join(info("a", manifest("chat"), manifest("door", boundary=node_pb2.BOUNDARY_TARGET)))
    assert registry.manifests() == {"chat": chat}
    assert list(registry.servers()[0].conflicting_providers) == ["chat", "door"]


def test_a_server_that_joins_again_is_one_member_with_its_load() -> None:
    registry = Registry()
    before = registry.join(info("a", ONE))
    registry.take(before.load, 3)
    after = registry.join(info("a", ONE))
    assert list(registry.members.values()) == [after]
    assert (after.name, after.active_instances) == ("a", 3)
    registry.leave(before)
    assert list(registry.members.values()) == [after]
    registry.leave(after)
    back = registry.join(info("a", ONE))
    assert back.active_instances == 3  # the runs are still there
    registry.take(before.load, -3)
    assert back.active_instances == 0


def test_a_lost_server_gets_nothing_until_it_is_found() -> None:
    registry = Registry()
    member = registry.join(info("a", ONE, max_instances=4, labels={"gpu": "a"}), static=True)
    registry.lose(member, "it is away")
    (listed,) = registry.servers()
    assert (listed.health, listed.health_detail) == (registry_pb2.SERVER_HEALTH_UNREACHABLE, "it is away")
    with pytest.raises(NoServer, match="a cannot be reached: it is away"):
        registry.choose("x")
    assert registry.manifests() == {"x": ONE}
    registry.find(member)
    assert registry.choose("x", labels={"gpu": "a"}) is member
    (listed,) = registry.servers()
    assert (listed.health, listed.info.max_instances) == (registry_pb2.SERVER_HEALTH_SERVING, 4)


def test_a_silent_server_is_listed_so_and_others_are_preferred() -> None:
    registry = Registry()
    member, other = registry.join(info("a", ONE)), registry.join(info("b", ONE, port=2))
    registry.take(other.load, 5)
    registry.lose(member, "it sent nothing")
    assert registry.servers()[0].health == registry_pb2.SERVER_HEALTH_UNREACHABLE
    assert registry.choose("x") is other
    assert registry.choose("x", without=["b"]) is member


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (registry_pb2.ServerInfo(name="a", address="here"), "is not an address"),
        (info("a", manifest("")), "a node type without a name"),
        (info("a", manifest("x", config_schema_json="[]")), "a config_schema_json that is not a JSON object"),
        (info("a", manifest("x", profiles_json="{")), "a profiles_json that is not a JSON object"),
    ],
)
def test_who_says_what_cannot_be_does_not_join(wrong: registry_pb2.ServerInfo, why: str) -> None:
    registry = Registry()
    with pytest.raises(LanemeshError, match=why):
        registry.join(wrong)
    assert not registry.members
