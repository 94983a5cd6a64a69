"""Functions of a user's file as nodes, in one process and over node servers."""

from __future__ import annotations

from pathlib import Path

import lanemesh
from lanemesh.server.services import load_file
from lanemesh_orchestrator import Mesh


async def test_files_of_functions_are_found(tmp_path: Path) -> None:
    path = tmp_path / "functions_in_a_file.py"
    path.write_text("from lanemesh import node\n\n\n@node\ndef echo(text: str) -> str:\n    return text\n")
    assert [found.provider for found in load_file(path).nodes] == ["echo"]
    pipeline = lanemesh.Pipeline()
    chat, echo, out = pipeline.add("chat"), pipeline.add("echo"), pipeline.add("response", lane="text")
    chat.text >> echo.text
    pipeline.connect(echo.out, out.text)
    for spread in (None, "service"):
        async with Mesh(nodes=[str(path)], spread=spread) as mesh:
            assert list((await mesh.run(pipeline, input="x").result()).values) == ["x"]
