"""What relative paths in the configs of pipelines count from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Deployed
from lanemesh_orchestrator import Mesh

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
