"""Node types whose Python packages are missing: one fault for each component, before the run starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lanemesh import Client, PipelineInvalid
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh_orchestrator.mesh import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs import commands
from rigs.runs import line, node

LACKING_NODES = Path(__file__).parents[2] / "rigs" / "lacking_nodes.py"
PIPE = line(node("a", "having", "chat"), node("b", "lacking", "a"), node("c", "lacking", "b"))


async def test_an_embedded_mesh_and_a_spread_one_refuse_it_at_once() -> None:
    async with Mesh(nodes=LACKING_NODES) as mesh:
        with pytest.raises(PipelineInvalid) as caught:
            await mesh.run(PIPE, input="x").result()
        assert [(fault.pointer, fault.reason) for fault in caught.value.faults] == [
            ("/components/2/provider", "missing-extra"),
            ("/components/3/provider", "missing-extra"),
        ]
        fault = caught.value.faults[0]
        assert fault.message == (
            f"b (lacking) needs Python packages that are missing in {sys.prefix}: lanemesh_absent, lanemesh_absent.inner."
        )
        assert fault.hint == "Run: pip install 'lanemesh[documents]'"
        with pytest.raises(PipelineInvalid):
            await mesh.deploy("lacking", PIPE)
        assert not await mesh.deployments()
    async with Mesh(spread="service", nodes=LACKING_NODES) as mesh:
        assert [fault.reason for fault in await mesh.validate(PIPE)] == ["missing-extra", "missing-extra"]
        assert not await mesh.node_servers()


async def test_a_permanent_mesh_names_the_servers_and_uses_one_that_has_the_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    servers: list[NodeServer] = []

    async def serve(name: str) -> None:
        server = NodeServer(NodeHost([load_file(LACKING_NODES)], name=name), orchestrator=orchestrator.address)
        await server.start()
        servers.append(server)
        assert server.registration is not None
        await server.registration.joined.wait()

    try:
        async with Client(orchestrator.address) as client:
            await serve("left")
            (fault, _) = await client.validate(PIPE)
            assert fault.message == (
                "b (lacking) needs Python packages that are missing: lanemesh_absent, lanemesh_absent.inner on left."
            )
            assert fault.hint == "Run on one of these node servers, and restart it: pip install 'lanemesh[documents]'"
            with pytest.raises(PipelineInvalid):
                await client.run(PIPE, input="x").result()
            with pytest.raises(PipelineInvalid):
                await client.deploy("lacking", PIPE)
            monkeypatch.setattr("lanemesh.server.host.node_types.missing_packages", lambda names: ())
            await serve("right")
            assert not await client.validate(PIPE)
            result = await client.run(PIPE, input="x").result()
            assert result.values == ("x",)
            assert [one.incomplete_node_types for one in await client.node_servers()] == [("lacking",), ()]
            (described,) = [one for one in await client.node_types() if one.provider == "lacking"]
            assert not described.missing_packages
            record = await client.record((await client.runs())[0].run_id)
            assert {where.server for where in record.placements if where.provider == "lacking"} == {"right"}
    finally:
        for server in servers:
            await server.stop()
        await orchestrator.close()


def test_the_command_line_marks_such_node_types_and_shows_what_they_need() -> None:
    def output(*arguments: str) -> str:
        return commands.run("nodes", *arguments).stdout

    listed = output("--nodes", str(LACKING_NODES))
    assert "lacking *" in listed
    assert "having *" not in listed
    assert "Python packages are missing" in listed
    shown = output("lacking", "--nodes", str(LACKING_NODES))
    assert "needs the Python packages: json, lanemesh_absent (missing), lanemesh_absent.inner (missing)" in shown
    assert "install them with: pip install 'lanemesh[documents]'" in shown
    assert "runs in this process" in shown
    assert "runs in the orchestrator" in output("chat")
    assert "in a Python environment of its own" in output("agent_crewai")
