"""Node servers that support only some features, or speak another version: they run what they can, and are asked for no more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lanemesh import Client
from lanemesh.faults import LanemeshError
from lanemesh.features import FEATURES, Feature
from lanemesh.server import node_service, registration
from lanemesh.server.services import load_file
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.replicas import RECOVERY_NODES
from rigs.runs import (
    JOINING_NODES,
    NODES,
    Component,
    Pipeline,
    chat,
    ended,
    lane,
    line,
    node,
    pipeline,
    response,
    serving,
)

COMPLETED = update_pb2.RUN_STATE_COMPLETED
SERVICES = [load_file(file) for file in (NODES, RECOVERY_NODES, JOINING_NODES)]
TAG = line(node("a", "tag", "chat"))
PAIR = {**node("c", "pair", lane("a", input="left"), lane("b", input="right")), "sync_mode": "join"}
JOIN = pipeline(chat(), node("a", "mark", "chat", mark="a"), node("b", "mark", "chat", mark="b"), PAIR, response("c"))
ISOLATED = line({**node("a", "slow", "chat"), "isolation": "process"})
GROUPED = line(node("a", "steady", lane("chat", merge="group")))


def at(server: str, component: Component) -> Component:
    """The component, on this server."""
    return {**component, "placement": {"labels": {"name": server}}}


def without(feature: Feature) -> frozenset[Feature]:
    return FEATURES - {feature}


async def test_a_server_of_another_version_and_without_any_feature_runs_what_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registration, "PROTOCOL_VERSION", 99)
    monkeypatch.setattr(node_service, "PROTOCOL_VERSION", 99)
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with serving(orchestrator, "old", services=SERVICES, features=()), Client(orchestrator.address) as client:
        (server,) = await client.node_servers()
        assert (server.protocol_version, server.features) == (99, ())
        result, updates = await asyncio.wait_for(ended(client.run(TAG, input="x", trace="full")), 20)
    await orchestrator.close()
    assert (result.state, result.values) == ("completed", ("x",))
    told = [update.log.message for update in updates if update.HasField("log")]
    assert told == ['the node server "old" lacks the feature "traces": items that reach a are not traced']


@pytest.mark.parametrize(
    ("document", "feature"), [(JOIN, Feature.JOINS), (ISOLATED, Feature.ISOLATION), (GROUPED, Feature.GROUPS)]
)
async def test_what_a_run_needs_is_sought_elsewhere_and_missed_by_name(document: Pipeline, feature: Feature) -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with (
        serving(orchestrator, "old", services=SERVICES, features=without(feature)),
        Client(orchestrator.address) as client,
    ):
        missed = f"the feature {feature} of its node server, and old lacks {feature}"
        with pytest.raises(LanemeshError, match=missed) as caught:
            await asyncio.wait_for(client.run(document, input="1").result(), 20)
        assert (caught.value.fault.reason, "Install a version" in caught.value.fault.message) == (
            "missing-feature",
            True,
        )
        async with serving(orchestrator, "new", services=SERVICES):
            result, updates = await asyncio.wait_for(ended(client.run(document, input="1")), 30)
    await orchestrator.close()
    assert result.state == "completed", result
    placed = next(update.job.placements for update in updates if update.job.placements)
    assert "new" in {where.server for where in placed}


async def test_a_server_without_preload_is_ready_when_it_is_there() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with (
        serving(orchestrator, "old", services=SERVICES, features=without(Feature.PRELOAD)) as old,
        serving(orchestrator, "new", services=SERVICES) as new,
        Client(orchestrator.address) as client,
    ):
        deployed = await client.deploy("tagging", TAG)
        assert deployed.state == "ready"
        assert [placement.server for placement in deployed.placements] == ["new"]
        assert (len(old.host.warm), len(new.host.warm)) == (0, 1)
    await orchestrator.close()


@pytest.mark.parametrize("lacking", ["left", "right"])
async def test_servers_with_and_without_recovery_work_together(lacking: str) -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    features: dict[str, Any] = {"left": FEATURES, "right": FEATURES, lacking: without(Feature.RECOVERY)}
    document = line(at("left", node("a", "steady", "chat")), at("right", node("b", "steady", "a")))
    async with (
        serving(orchestrator, "left", services=SERVICES, features=features["left"], labels={"name": "left"}),
        serving(orchestrator, "right", services=SERVICES, features=features["right"], labels={"name": "right"}),
        Client(orchestrator.address) as client,
    ):
        result, _ = await asyncio.wait_for(ended(client.run(document, input="x")), 20)
    await orchestrator.close()
    assert (result.state, result.values) == ("completed", ("x",)), result
