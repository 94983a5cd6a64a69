"""The names of results: what a target delivers can be read by them, over every door, beside its id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Client, Mesh, PipelineInvalid
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs import commands
from rigs.gateways import gateway

EDGES = [{"lane": "text", "from": "chat"}]
NAMED: dict[str, Any] = {
    "components": [
        {"id": "chat", "provider": "chat"},
        {"id": "loud", "provider": "upper_case", "input": EDGES},
        {
            "id": "out_1",
            "provider": "response_text",
            "config": {"laneName": "shout"},
            "input": [{"lane": "text", "from": "loud"}],
        },
        {"id": "out_2", "provider": "response", "config": {"result_name": "echo"}, "input": EDGES},
        {"id": "out_3", "provider": "response", "input": EDGES},
    ]
}


async def check(mesh: Mesh | Client) -> None:
    run = mesh.run(NAMED, input="hello")
    result = await run.result()
    assert result["shout"] == result["out_1"] == ("HELLO",)
    assert result["echo"] == result["out_2"] == result["out_3"] == ("hello",)
    assert {(output.component, output.name, output.key) for output in result.outputs} == {
        ("out_1", "shout", "shout"),
        ("out_2", "echo", "echo"),
        ("out_3", "", "out_3"),
    }
    assert await mesh.run(NAMED, input="hello").values("shout") == ["HELLO"]
    with pytest.raises(KeyError, match="values reached echo, out_3, shout"):
        result["answers"]
    again = await mesh.attach(run.id).result()
    assert again["shout"] == ("HELLO",)


async def test_results_have_names_embedded_and_remote_and_in_a_store(tmp_path: Path) -> None:
    async with Mesh(store=tmp_path / "runs.db") as mesh:
        await check(mesh)
    orchestrator = Orchestrator(embedded=True)
    await orchestrator.listen()
    try:
        async with Client(orchestrator.address) as client:
            await check(client)
    finally:
        await orchestrator.close()


async def test_a_webhook_answers_by_name() -> None:
    async with Mesh() as mesh:
        await mesh.deploy("named", NAMED)
        async with gateway(mesh) as client:
            answered = await client.post("/hooks/named", content="hello", headers={"content-type": "text/plain"})
            assert answered.json() == {"shout": "HELLO", "echo": "hello", "out_3": "hello"}


def test_updates_as_json_have_the_name(tmp_path: Path) -> None:
    file = tmp_path / "named.pipe"
    file.write_text(json.dumps(NAMED))
    lines = commands.run("run", str(file), "--json", "--input", "hello").stdout.splitlines()
    outputs = [update for line in lines if (update := json.loads(line))["update"] == "output"]
    assert {(one["component"], one.get("name")) for one in outputs} == {
        ("out_1", "shout"),
        ("out_2", "echo"),
        ("out_3", None),
    }


@pytest.mark.parametrize("name", ["shout", "out_1"], ids=["a name twice", "the id of another target"])
async def test_a_name_that_is_taken_is_a_fault(name: str) -> None:
    last = {"id": "out_4", "provider": "response", "config": {"result_name": name}, "input": EDGES}
    async with Mesh() as mesh:
        with pytest.raises(PipelineInvalid) as caught:
            await mesh.run({"components": [*NAMED["components"], last]}, input="x").result()
    (fault,) = caught.value.faults
    assert (fault.pointer, fault.reason) == ("/components/5/config", "duplicate-result")


async def test_response_json_and_response_table_deliver_data_and_tables() -> None:
    hook = {"id": "hook", "provider": "webhook"}
    out = {"id": "out", "provider": "response_json", "input": [{"lane": "data", "from": "hook"}]}
    async with Mesh() as mesh:
        result = await mesh.run({"components": [hook, out]}, input={"a": 1}).result()
        assert result["out"] == ({"a": 1},)
        wrong = {"id": "out", "provider": "response_table", "input": [{"lane": "data", "from": "hook"}]}
        faults = await mesh.validate({"components": [hook, wrong]})
        assert [fault.reason for fault in faults] == ["lane-mismatch"]
