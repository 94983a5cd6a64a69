"""Files of node types that are edited while a mesh lasts: new runs have the new code, on every kind of mesh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from lanemesh.client.client import Client
from lanemesh.client.specs import Deployed
from lanemesh.faults import LanemeshError
from lanemesh.server import node_files
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_files import NodeFiles
from lanemesh.server.node_server import NodeServer
from lanemesh.v1 import registry_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.registry import polled_servers
from lanemesh_orchestrator.registry.registry import Registry

from rigs.registration_log import registration_log


def pipeline(provider: str = "version") -> dict[str, Any]:
    return {
        "components": [
            {"id": "chat", "provider": "chat"},
            {"id": "v", "provider": provider, "input": [{"lane": "text", "from": "chat"}]},
            {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "v"}]},
        ]
    }


def write(file: Path, number: int, name: str = "version", port: str = "text", isolation: str = "thread") -> None:
    file.write_text(
        f"from lanemesh import node\n\n@node(isolation='{isolation}')\n"
        f"def {name}({port}: str) -> str:\n    return 'version {number}{'!' * number}'\n",
        encoding="utf-8",
    )


def spoil(file: Path) -> None:
    file.write_text("def broken(:\n", encoding="utf-8")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nodes.py"
    write(path, 1)
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_files, "POLL_SECONDS", 0.02)


async def said(mesh: Mesh | Client, document: Any) -> str:
    result = await mesh.run(document, input="which?").result()
    result.raise_for_state()
    value: str = result.values[0]
    return value


async def until(registry: Registry, holds: Callable[[list[registry_pb2.NodeServer]], object]) -> None:
    async with asyncio.timeout(20):
        while not holds(registry.servers()):
            await registry.changes.wait()


@asynccontextmanager
async def meshed() -> AsyncIterator[tuple[Orchestrator, Client]]:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        yield orchestrator, client
    await orchestrator.close()


@asynccontextmanager
async def serving(
    orchestrator: Orchestrator, *files: Path, name: str = "n", reload: bool = False, replace: bool = False
) -> AsyncIterator[NodeServer]:
    host = NodeHost([], name=name, node_files=NodeFiles(files))
    server = NodeServer(host, orchestrator=orchestrator.address, reload=reload, replace=replace)
    await server.start()
    assert server.registration is not None
    await server.registration.joined.wait()
    yield server
    await server.stop()


@pytest.mark.parametrize("spread", [None, "service"])
async def test_a_mesh_of_ones_own(file: Path, spread: Literal["service"] | None) -> None:
    async with Mesh(nodes=file, spread=spread) as mesh:
        assert await said(mesh, pipeline()) == "version 1!"
        write(file, 2)
        assert await said(mesh, pipeline()) == "version 2!!"
        write(file, 3, name="other")
        assert await said(mesh, pipeline("other")) == "version 3!!!"
        spoil(file)
        with pytest.raises(LanemeshError, match=r"nodes\.py cannot be loaded: SyntaxError"):
            await said(mesh, pipeline("other"))
        write(file, 4, name="other")
        assert await said(mesh, pipeline("other")) == "version 4!!!!"


@pytest.mark.parametrize("spread", [None, "service"])
async def test_a_deployed_pipeline_of_a_mesh_of_ones_own(file: Path, spread: Literal["service"] | None) -> None:
    async with Mesh(nodes=file, spread=spread) as mesh:
        await mesh.deploy("d", pipeline())
        assert await said(mesh, Deployed("d")) == "version 1!"
        write(file, 2)
        assert await said(mesh, Deployed("d")) == "version 2!!"
        write(file, 3)
        await mesh.deploy("d", pipeline())
        assert await said(mesh, Deployed("d")) == "version 3!!!"


async def test_bodies_in_processes(file: Path) -> None:
    write(file, 1, isolation="process")
    async with Mesh(nodes=file) as mesh:
        assert await said(mesh, pipeline()) == "version 1!"
        write(file, 2, isolation="process")
        assert await said(mesh, pipeline()) == "version 2!!"


async def test_a_node_server(file: Path) -> None:
    async with meshed() as (orchestrator, client), serving(orchestrator, file):
        assert await said(client, pipeline()) == "version 1!"
        write(file, 2)
        assert await said(client, pipeline()) == "version 2!!"
        await client.deploy("d", pipeline())
        write(file, 3)
        assert await said(client, Deployed("d")) == "version 3!!!"


async def test_a_node_server_that_knows_no_orchestrator(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polled_servers, "CHECK_SECONDS", 0.1)
    server = NodeServer(NodeHost([], name="n", node_files=NodeFiles([file])))
    await server.start()
    orchestrator = Orchestrator(embedded=False, servers=[server.address])
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        await until(orchestrator.registry, lambda found: found and found[0].providers == ["version"])
        assert await said(client, pipeline()) == "version 1!"
        write(file, 2, name="other")
        await until(orchestrator.registry, lambda found: found and found[0].providers == ["other"])
        assert await said(client, pipeline("other")) == "version 2!!"
    await orchestrator.close()
    await server.stop()


async def test_a_node_server_that_watches_reports_other_node_types_and_keeps_them_after_a_bad_edit(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with meshed() as (orchestrator, client), serving(orchestrator, file, reload=True):
        write(file, 2, name="other")
        await until(orchestrator.registry, lambda found: found[0].providers == ["other"])
        assert await said(client, pipeline("other")) == "version 2!!"
        spoil(file)
        with caplog.at_level(logging.WARNING):
            assert await said(client, pipeline("other")) == "version 2!!"
        assert "cannot be loaded: SyntaxError" in caplog.text
        write(file, 3)
        await until(orchestrator.registry, lambda found: found[0].providers == ["version"])


async def test_ports_that_were_edited_since_a_run_was_planned(file: Path) -> None:
    async with meshed() as (orchestrator, client), serving(orchestrator, file):
        assert await said(client, pipeline()) == "version 1!"
        write(file, 2, port="question")
        with pytest.raises(LanemeshError, match='it has no input "text" any more') as raised:
            await said(client, pipeline())
        assert raised.value.fault.reason == "node-type-changed"
        assert await said(client, pipeline()) == "version 2!!"


async def test_a_server_that_replaces_older_ones(tmp_path: Path) -> None:
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    write(old, 1)
    write(new, 2)
    async with meshed() as (orchestrator, client), serving(orchestrator, old, name="old"):
        async with serving(orchestrator, new, name="new", replace=True) as server:
            assert await said(client, pipeline()) == "version 2!!"
            listed = {each.info.name: list(each.replaced_providers) for each in orchestrator.registry.servers()}
            assert listed == {"old": ["version"], "new": []}
            await server.drain()
            await until(orchestrator.registry, lambda found: not found[0].replaced_providers)
        assert await said(client, pipeline()) == "version 1!"


async def test_a_server_whose_manifest_is_not_used_logs_why(tmp_path: Path) -> None:
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    write(old, 1)
    write(new, 2, port="question")
    async with meshed() as (orchestrator, _), serving(orchestrator, old, name="old"):
        with registration_log() as lines:
            async with serving(orchestrator, new, name="new"):
                await lines.until(
                    'the node type "version" of this server is not used: its manifest differs from that of the server "old"',
                    "start this server with --replace",
                )
