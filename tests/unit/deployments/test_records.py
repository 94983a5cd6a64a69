"""Names, limits, and what becomes of a spec; the graph of a deployed pipeline and when it is read again."""

from __future__ import annotations

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.v1 import node_pb2, registry_pb2, run_pb2, update_pb2
from lanemesh_orchestrator.deployments import deployments as deployments_module
from lanemesh_orchestrator.deployments import records
from lanemesh_orchestrator.deployments.graph_cache import GraphCache, NodeTypes
from lanemesh_orchestrator.deployments.records import DeploymentRecord, check_name, check_spec, stamped, with_own
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.pipeline import Graph, validate
from lanemesh_orchestrator.registry.registry import Registry

from unit.pipeline.documents import build, component, manifests, write

SHOUT = (
    component("chat_1", "chat"),
    component("shout_1", "shout", "text chat_1"),
    component("out_1", "response", "text shout_1"),
)
ECHO = write(component("chat_1", "chat"), component("out_1", "response", "text chat_1"))


@pytest.mark.parametrize("name", ["chat", "a", "0", "chat-2_b", "-", "x" * 64])
def test_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "Chat", "a b", "ä", "a/b", "a:1", "@a", "x" * 65, "chat\n"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(LanemeshError, match="is not a valid name of a deployed pipeline"):
        check_name(name)


def test_a_timeout_is_more_than_nothing() -> None:
    spec = run_pb2.RunSpec(pipeline_json="{}")
    spec.timeout.FromNanoseconds(0)
    with pytest.raises(LanemeshError, match="greater than 0 seconds"):
        check_spec(spec)


def test_a_run_has_its_own_settings_on_top() -> None:
    deployed = run_pb2.RunSpec(pipeline_json="{}", settings_json={"a.x": "1", "a.y": "2"})
    own = run_pb2.RunSpec(deployment=run_pb2.DeploymentReference(name="chat"), settings_json={"a.y": "3", "a.z": "4"})
    merged = with_own(deployed, own)
    assert (merged.pipeline_json, dict(merged.settings_json)) == ("{}", {"a.x": "1", "a.y": "3", "a.z": "4"})
    assert dict(deployed.settings_json) == {"a.x": "1", "a.y": "2"}


def test_a_run_replaces_the_settings_of_the_deployment_within_its_own() -> None:
    deployed = run_pb2.RunSpec(settings_json={"a.x.y": "1", "a.x.y.z": "2", "a.xy": "3", "a.w": "{}", "b.x.y": "4"})
    merged = with_own(deployed, run_pb2.RunSpec(settings_json={"a.x": "{}", "a.w.v": "5"}))
    assert dict(merged.settings_json) == {"a.x": "{}", "a.xy": "3", "a.w": "{}", "a.w.v": "5", "b.x.y": "4"}


def test_a_graph_names_its_deployment_and_has_its_timeout_and_trace() -> None:
    record = DeploymentRecord("chat", 3, b"", 0.0)
    plain = stamped(build(*SHOUT, timeout=5), record, run_pb2.RunSpec())
    assert (plain.deployment, plain.deployment_version, plain.timeout, plain.trace) == ("chat", 3, 5, "none")
    spec = run_pb2.RunSpec(trace=update_pb2.TRACE_LEVEL_SUMMARY)
    spec.timeout.FromNanoseconds(1_500_000_000)
    told = stamped(plain, record, spec)
    assert (told.timeout, told.trace) == (1.5, "summary")


def test_a_graph_is_read_again_only_when_its_node_types_have_changed() -> None:
    registry, types, read = Registry(), manifests(), []

    def reads(spec: run_pb2.RunSpec) -> Graph:
        read.append(spec.pipeline_json)
        return validate(spec.pipeline_json, types)

    reading = GraphCache(run_pb2.RunSpec(pipeline_json=write(*SHOUT)), reads, NodeTypes(registry, lambda: dict(types)))
    first = reading.graph()
    registry.join(registry_pb2.ServerInfo(name="s", address="127.0.0.1:1", instance_id="s"))
    types["other"] = node_pb2.Manifest(provider="other")
    assert reading.graph() is first
    registry.join(registry_pb2.ServerInfo(name="s", address="127.0.0.1:1", instance_id="s"))
    types["shout"] = node_pb2.Manifest()
    types["shout"].CopyFrom(manifests()["shout"])
    types["shout"].version = "2"
    assert reading.graph() is not first
    assert len(read) == 2
    registry.leave(registry.members["s"])
    del types["shout"]
    for _ in range(2):
        with pytest.raises(LanemeshError, match='no node type "shout"'):
            reading.graph()


async def test_names_versions_and_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments_module, "MAX_DEPLOYMENTS", 2)
    monkeypatch.setattr(deployments_module, "MAX_VERSIONS", 3)
    orchestrator = Orchestrator(embedded=True)
    deployments = orchestrator.deployments
    spec = run_pb2.RunSpec(pipeline_json=ECHO)
    for name in "aaaaab":
        await deployments.deploy(name, spec)
    with pytest.raises(LanemeshError, match="2 deployed pipelines, which is the maximum"):
        await deployments.deploy("c", spec)
    assert [(told.name, told.version) for told in deployments.all()] == [("a", 5), ("b", 1)]
    assert deployments.get("a", 3)[1] == spec
    with pytest.raises(LanemeshError, match="no version 2, or no longer has it; it has 5, 4, 3"):
        deployments.get("a", 2)
    monkeypatch.setattr(deployments_module, "MAX_SUPERSEDED_BYTES", 2 * spec.ByteSize())
    await deployments.deploy("b", spec)
    with pytest.raises(LanemeshError, match="no version 3, or no longer has it; it has 5, 4"):
        deployments.get("a", 3)
    assert deployments.get("b", 1)[1] == spec
    await orchestrator.close()
    assert records.MAX_VERSIONS == 100
