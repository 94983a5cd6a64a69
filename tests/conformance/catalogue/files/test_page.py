"""The pipeline of docs/nodes/file.md writes the texts of a folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

from lanemesh import Mesh

PAGE = Path(__file__).parents[4] / "docs" / "nodes" / "file.md"


async def test_the_pipeline_of_the_page_writes_what_comes_into_the_folder(tmp_path: Path) -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    letters, texts = tmp_path / "letters", tmp_path / "texts"
    letters.mkdir()
    (letters / "a.md").write_text("# Hello")
    pipe = json.loads(block)
    delivered = {"id": "out", "provider": "response", "input": [{"lane": "data", "from": "writer"}]}
    settings = {"folder.globs": ["*.md"], "folder.settle": 0, "folder.interval": 0.05}
    written = []
    async with Mesh(folder=tmp_path) as mesh:
        assert not await mesh.validate(pipe)
        pipe["components"].append(delivered)
        async with mesh.run(pipe, settings=settings) as run:
            async for value in run.values():
                written.append(value["name"])
                if len(written) == 2:
                    break
                (letters / "b.md").write_text("# More")
    assert {path.name for path in texts.iterdir()} == set(written)
    assert sorted(path.read_text() for path in texts.iterdir()) == ["# Hello", "# More"]
