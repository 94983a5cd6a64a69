"""Reports that are sent together: those of a server at the end of a short run, and states with what follows them."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from lanemesh.server import node_service
from lanemesh.server.host import response_queue
from lanemesh.v1 import node_pb2, run_pb2
from lanemesh_orchestrator.runs import frames, update_log

from rigs.joined import APART, ends, mesh_of
from rigs.runs import at, line, node

LONG = 20.0
"""Seconds that a test waits only if it fails."""


def recorded(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The frames that a module writes."""
    found: list[Any] = []
    write = module.write

    async def noting(context: Any, frame: Any) -> None:
        found.append(frame)
        await write(context, frame)

    monkeypatch.setattr(module, "write", noting)
    return found


@pytest.mark.conformance("START-01")
async def test_a_server_reports_the_end_of_a_short_run_in_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_queue, "CLOSING_SECONDS", LONG)
    found: list[node_pb2.HostResponse] = recorded(node_service, monkeypatch)
    async with mesh_of("left", "right") as (_, client, servers):
        for server in servers:
            server.host.edge_update_seconds = inf
        assert (await ends(client, APART))[0] == "completed"
        kinds = [[each.WhichOneof("frame") for each in (frame, *frame.more)] for frame in found]
    assert kinds == [["placed"], ["placed"], *[["update", "update", "finished"]] * 2]


@pytest.mark.conformance("START-01")
async def test_the_end_of_a_node_is_reported_while_its_consumer_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_queue, "CLOSING_SECONDS", 0.001)
    monkeypatch.setattr(update_log, "HOLD_SECONDS", 0.001)
    document = line(at("left", node("a", "numbers", count=3)), at("right", node("b", "hang", "a")))
    async with mesh_of("left", "right") as (_, client, _servers):
        async with client.run(document) as run:
            async for update in run.nodes():
                if (update.component, update.state) == ("a", "completed"):
                    break
        assert run.state != "completed"


@pytest.mark.conformance("START-01")
async def test_states_are_sent_with_what_follows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_log, "HOLD_SECONDS", LONG)
    found: list[run_pb2.RunResponse] = recorded(frames, monkeypatch)
    async with mesh_of("left", "right") as (_, client, _servers):
        assert await ends(client, APART) == ("completed", ("x",))
    kinds = [{update.WhichOneof("kind") for update in frame.updates} for frame in found]
    texts = [bool(frame.text_outputs) for frame in found]
    assert all(kind - {"node", "edge"} or text for kind, text in zip(kinds, texts, strict=True)), kinds
