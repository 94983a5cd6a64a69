"""Updates as lines of JSON: the output of `--json`."""

from __future__ import annotations

from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.update_json import to_json


def to_line(update: update_pb2.Update, *, file: str = "") -> str:
    """An update as one line of JSON, with its newline. `file` is where the content of a media output was written."""
    return json_text(to_json(update, file=file)) + "\n"
