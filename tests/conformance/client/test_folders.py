"""What relative paths in the configs of pipelines count from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Client, Deployed
from lanemesh.client.specs import run_spec
from lanemesh.v1 import run_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.store.options import StoreOptions

NODES = """
from pathlib import Path

from lanemesh import Context, In, Node, Out
from pydantic import BaseModel


class Quote(Node):
    \"\"\"Gives what its file holds.\"\"\"

    class Config(BaseModel):
        file: Path

    text: In[str]
    quoted: Out[str]

    def process(self, context: Context):
        return {"quoted": self.config.file.read_text()}
"""

DOCUMENT: dict[str, Any] = {
    "components": [
        {"id": "chat", "provider": "chat"},
        {"id": "q", "provider": "quote", "config": {"file": "a.txt"}, "input": [{"lane": "text", "from": "chat"}]},
        {"id": "out", "provider": "response", "config": {"lane": "text"}, "input": [{"lane": "text", "from": "q"}]},
    ]
}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three folders with a file of the same name in each: "file" has the pipeline, "mesh", and "here" is the working directory."""
    for name in ("file", "mesh", "here"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    (tmp_path / "nodes.py").write_text(NODES)
    (tmp_path / "file" / "quote.pipe").write_text(json.dumps(DOCUMENT))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize("spread", [None, "service"])
async def test_relative_paths_count_from_the_file_of_the_pipeline(folders: Path, spread: Any) -> None:
    file = Path("../file/quote.pipe")
    async with Mesh(spread, nodes=folders / "nodes.py") as mesh:
        assert await mesh.run(file, input="x").text() == "file"
        assert (await (await mesh.start(file, input="x")).result()).text == "file"
        await mesh.deploy("quote", file)
        assert await mesh.run(Deployed("quote"), input="x").text() == "file"
        assert await mesh.run(file, input="x", settings={"q.file": "a.txt"}).text() == "here"
        assert await mesh.run(DOCUMENT, input="x").text() == "here"


async def test_those_of_a_pipeline_without_a_file_count_from_the_folder_of_the_mesh(folders: Path) -> None:
    async with Mesh(nodes=folders / "nodes.py", folder=Path("../mesh")) as mesh:
        assert await mesh.run(DOCUMENT, input="x").text() == "mesh"
        assert await mesh.run(json.dumps(DOCUMENT), input="x").text() == "mesh"
        assert await mesh.run(folders / "file" / "quote.pipe", input="x").text() == "file"


async def test_a_deployment_in_a_store_keeps_its_folder(folders: Path) -> None:
    store = folders / "runs.sqlite"
    async with Mesh(nodes=folders / "nodes.py", store=store) as mesh:
        await mesh.deploy("quote", folders / "file" / "quote.pipe")
        await mesh.deploy("quote", DOCUMENT)
    later = Orchestrator(embedded=True, nodes=[folders / "nodes.py"], store=StoreOptions(location=str(store)))
    await later.listen()
    async with Client(later.address) as client:
        assert await client.run(Deployed("quote", 1), input="x").text() == "file"
        assert await client.run(Deployed("quote", 2), input="x").text() == "here"
    await later.close()


async def test_error_a_client_cannot_have_relative_paths_count_from_a_folder(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(folders / "mesh").encode()
    sent = b"\x4a" + bytes([len(folder)]) + folder  # a text in a field of RunSpec that the protocol does not have

    def spec_with_folder(*given: Any, **named: Any) -> run_pb2.RunSpec:
        return run_pb2.RunSpec.FromString(run_spec(*given, **named).SerializeToString() + sent)

    monkeypatch.setattr("lanemesh.client.client.run_spec", spec_with_folder)
    orchestrator = Orchestrator(embedded=True, nodes=[folders / "nodes.py"])
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        assert await client.run(DOCUMENT, input="x").text() == "here"
        assert (await (await client.start(DOCUMENT, input="x")).result()).text == "here"
        await client.deploy("quote", DOCUMENT)
        assert await client.run(Deployed("quote"), input="x").text() == "here"
    await orchestrator.close()
