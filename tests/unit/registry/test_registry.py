"""What the registry keeps of node servers: names, loads, and whose manifest is in force."""

from __future__ import annotations

import logging

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
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
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    warnings = [text for text in logged if "offers the node type" in text]
    assert len(warnings) == 1
    assert 'b at 127.0.0.1:2 offers the node type "x" with another manifest than a' in warnings[0]

    registry.leave(first)
    assert registry.manifests()["x"] == OTHER
    assert registry.choose("x") is second
    assert [list(server.conflicting_providers) for server in registry.servers()] == [[], ["x"]]


def started(seconds: int) -> Timestamp:
    return Timestamp(seconds=seconds)


def test_a_server_replaces_the_node_types_of_those_that_were_started_before_it() -> None:
    registry = Registry()
    newer = registry.join(info("newer", OTHER, port=3, replaces=True, started_at=started(3)))
    old = registry.join(info("old", ONE, manifest("y"), port=1, started_at=started(1)))
    same = registry.join(info("same", OTHER, port=2, started_at=started(2)))
    later = registry.join(info("later", OTHER, port=4, started_at=started(4)))
    assert registry.manifests()["x"] == OTHER
    assert [member.name for member in registry.members.values() if member.runs("x")] == ["newer", "later"]
    assert old.runs("y")
    assert 'is replaced by the server "newer"' in same.warnings[0]
    assert [list(each.replaced_providers) for each in registry.servers()] == [[], ["x"], ["x"], []]
    newest = registry.join(info("newest", ONE, port=5, replaces=True, started_at=started(5)))
    assert [member.name for member in registry.members.values() if member.runs("x")] == ["newest"]
    registry.drain(newest)
    assert newer.runs("x")
    assert not newest.runs("x")
    registry.leave(newer)
    registry.leave(later)
    registry.leave(newest)
    assert registry.choose("x").name == "old"


def test_node_types_of_a_server_may_change() -> None:
    registry = Registry()
    member = registry.join(info("a", ONE))
    registry.update(member, [manifest("y")])
    assert registry.manifests() == {"y": manifest("y")}
    registry.update(member, [manifest("x", config_schema_json="[]")])
    assert list(registry.servers()[0].providers) == ["y"]
    assert "its node types have changed, and are not used" in member.warnings[-1]


def test_no_server_gets_the_name_of_the_orchestrator() -> None:
    assert Registry().join(info("orchestrator", ONE)).name == "orchestrator-2"


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


def test_a_server_that_joins_again_with_another_address_is_one_member_with_its_load() -> None:
    registry = Registry()
    before = registry.join(info("a", ONE, instance_id="1"))
    clashing = registry.join(info("b", ONE, instance_id="2"), answering="1")
    registry.take(before.load, 3)
    after = registry.join(info("a", ONE, port=2, instance_id="1"))
    assert registry.members["a"] is after
    assert (after.info.address, after.active_instances) == ("127.0.0.1:2", 3)
    registry.leave(before)
    assert registry.members["a"] is after
    other = registry.join(info("c", ONE, port=3, instance_id="3"))
    moved = registry.join(info("a", ONE, port=3, instance_id="1"), rival=other, answering="3")
    assert (moved.rival, "a" in registry.members) == (other, False)
    assert sorted(each.info.name for each in registry.servers()) == ["a", "b", "c"]
    assert list(registry.members.values()) == [other, clashing]


def test_of_two_servers_at_one_address_the_survivor_is_used() -> None:
    registry = Registry()
    older = registry.join(info("a", ONE, instance_id="1"))
    newer = registry.join(info("b", manifest("y"), instance_id="2"))
    assert list(registry.members.values()) == [newer]
    assert [(each.info.name, each.health_detail) for each in registry.servers()] == [
        ("b", ""),
        ("a", 'its address is that of the server "b" (127.0.0.1:1). Start it with an --advertise of its own'),
    ]
    assert "not used" in older.warnings[0]
    assert 'the server "a" (127.0.0.1:1) gives the address of this server' in newer.warnings[0]
    registry.leave(newer)
    assert registry.choose("x") is older
    assert [each.health for each in registry.servers()] == [registry_pb2.SERVER_HEALTH_SERVING]


def test_the_server_that_answers_at_an_address_remains_in_use() -> None:
    registry = Registry()
    older = registry.join(info("a", ONE, instance_id="1"))
    newer = registry.join(info("a", ONE, instance_id="2"), answering="1")
    assert (list(registry.members.values()), newer.name) == ([older], "a-2")
    registry.leave(newer)
    assert (registry.choose("x"), len(registry.servers())) == (older, 1)


def test_a_server_that_was_started_again_gets_its_address_and_name() -> None:
    registry = Registry()
    before = registry.join(info("a", ONE, instance_id="1"))
    after = registry.join(info("a", ONE, instance_id="2"), answering="2")
    assert (registry.choose("x"), after.name, before.name) == (after, "a", "a-2")
    registry.leave(before)
    assert [each.info.name for each in registry.servers()] == ["a"]


def test_a_server_that_is_not_used_joins_again_as_one_entry() -> None:
    registry = Registry()
    used = registry.join(info("a", ONE, instance_id="1"))
    for _ in range(2):
        registry.join(info("b", ONE, instance_id="2"), answering="1")
    assert [each.info.name for each in registry.servers()] == ["a", "b"]
    again = registry.join(info("a", ONE, instance_id="1"))
    registry.leave(used)
    assert [each.info.name for each in registry.servers()] == ["a", "b"]
    registry.leave(again)
    assert list(registry.members) == ["b"]


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
        (registry_pb2.ServerInfo(name="a", address="unix:/etc/passwd"), "is not an address"),
        (registry_pb2.ServerInfo(name="a", address="dns:///x:1"), "is not an address"),
        (registry_pb2.ServerInfo(name="a", address="h\0:1"), "is not an address"),
        (info("a", manifest("")), "a node type without a name"),
        (info("a", manifest("x", config_schema_json="[]")), "a config_schema_json that is not a JSON object"),
        (info("a", manifest("x", profiles_json="{")), "a profiles_json that is not a JSON object"),
    ],
)
def test_a_server_with_an_invalid_description_does_not_join(wrong: registry_pb2.ServerInfo, why: str) -> None:
    registry = Registry()
    with pytest.raises(LanemeshError, match=why):
        registry.join(wrong)
    assert not registry.members


def test_servers_that_differ_in_missing_packages_agree_and_the_mesh_lacks_what_all_of_them_lack() -> None:
    registry = Registry()
    registry.join(info("a", manifest("x", packages=["p", "q"], missing_packages=["p"]), port=1))
    assert list(registry.manifests()["x"].missing_packages) == ["p"]
    registry.join(info("b", manifest("x", packages=["p", "q"], missing_packages=["q"]), port=2))
    assert list(registry.manifests()["x"].missing_packages) == ["p", "q"]
    assert registry.lacking("x") == {"a": ["p"], "b": ["q"]}
    whole = registry.join(info("c", manifest("x", packages=["p", "q"]), port=3))
    assert not registry.manifests()["x"].missing_packages
    assert registry.choose("x") is whole
    assert [list(server.conflicting_providers) for server in registry.servers()] == [[], [], []]
    assert [list(server.incomplete_providers) for server in registry.servers()] == [["x"], ["x"], []]
    registry.leave(whole)
    assert list(registry.manifests()["x"].missing_packages) == ["p", "q"]
