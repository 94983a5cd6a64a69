"""`lanemesh schema` as a process."""

from __future__ import annotations

import json
from pathlib import Path

from pages import ROOT
from rigs.commands import run


def test_the_command_writes_the_schema_with_the_node_types_of_a_file(tmp_path: Path) -> None:
    nodes = str(ROOT / "examples" / "zip_nodes.py")
    printed = run("schema", "--nodes", nodes)
    assert "config.subtitle" in json.loads(printed.stdout)["$defs"]
    written = run("schema", "--nodes", nodes, "--output", str(tmp_path / "s.json"))
    assert (written.stdout, written.returncode) == ("", 0)
    assert (tmp_path / "s.json").read_text() == printed.stdout
    refused = run("schema", "--output", str(tmp_path))
    assert refused.returncode != 0
    assert "cannot be written" in refused.stderr
