"""One document gives the same outputs embedded, spread over processes, and through a client of either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lanemesh import Client
from lanemesh.client.run_host import RunHost
from lanemesh_orchestrator import Mesh

from rigs.runs import Pipeline, chat, ended, lane, line, node, pipeline, response, value_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

DIAMOND = pipeline(
    chat(),
    node("a", "mark", "chat", mark="a"),
    node("b", "mark", "chat", mark="b", drop=[3]),
    {**node("c", "pair", lane("a", input="left"), lane("b", input="right")), "sync_mode": "join"},
    node("count", "how_many", "c"),
    response("c", name="pairs"),
    response("count", name="number"),
)
DOCUMENTS: dict[str, Pipeline] = {
    "a line of three": line(
        node("a", "tag", "chat", mark="1"), node("b", "pass", "a"), node("c", "tag", "b", mark="3")
    ),
    "fan-out to two targets": pipeline(
        chat(),
        node("a", "tag", "chat", mark="a"),
        node("b", "tag", "chat", mark="b"),
        response("a", name="x"),
        response("b", name="y"),
    ),
    "many for each": line(node("a", "series", "chat", count=300, size=20), node("b", "tag", "a", mark="+")),
    "a join and a list": DIAMOND,
}
INPUTS = [str(number) for number in range(12)]


@pytest.mark.conformance("PIPE-06")
@pytest.mark.parametrize("name", DOCUMENTS)
async def test_a_file_gives_the_same_outputs_embedded_and_spread(
    name: str, embedded: Mesh, spread: Mesh, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "same.pipe"
    file.write_text(json.dumps(DOCUMENTS[name]))
    found = []
    hosts: list[RunHost] = [embedded, spread]
    if DOCUMENTS[name] is not DIAMOND:  # the server of that client lacks its node types
        hosts.append(client)
    for host in hosts:
        result, updates = await ended(host.run(file, inputs=INPUTS))
        outputs: dict[str, list[object]] = {}
        for update in updates:
            if update.HasField("output"):
                outputs.setdefault(update.output.component, []).append(value_of(update.output))
        found.append((result.state, outputs))
    assert found[0][0] == "completed"
    assert all(found[0][1].values())
    assert all(other == found[0] for other in found[1:])
