"""`lanemesh import`: a workflow of another system as a pipeline document."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from lanemesh.extend import read_json

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.documents import read_text_file
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host
from lanemesh_orchestrator.importing.nodetool import Imported, from_nodetool
from lanemesh_orchestrator.importing.workflow import NotAWorkflow


def import_workflow(file: str, host: HostOptions, *, output: Path | None, strict: bool) -> ExitCode:
    """Prints or writes the pipeline of a workflow, and lists on standard error what has no counterpart. With `strict` that is a
    failure, and nothing is written."""
    text = read_text_file(file)
    try:
        tree = read_json(text)
    except (ValueError, TypeError) as error:
        raise CommandError(f"{file} is not JSON that a pipeline can have: {error}.") from None
    try:
        imported = from_nodetool(tree, asyncio.run(_providers(host)))
    except NotAWorkflow as error:
        raise CommandError(f"{file} is not a workflow of NodeTool: {error}.") from None
    _report(imported)
    if strict and imported.missing:
        return ExitCode.FAILED
    document = json.dumps(imported.document, ensure_ascii=False, indent=2) + "\n"
    if output is None:
        print(document, end="")
        return ExitCode.COMPLETED
    try:
        output.write_text(document, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--output {output}: it cannot be written: {error.strerror}.") from None
    print(f"wrote {output}; check it with: lanemesh validate {output}", file=sys.stderr)
    return ExitCode.COMPLETED


async def _providers(host: HostOptions) -> frozenset[str]:
    """The names of the node types that there are."""
    async with open_host(host) as mesh:
        return frozenset(info.provider for info in await mesh.node_types())


def _report(imported: Imported) -> None:
    count = len(imported.missing)
    if count:
        print(f"{count} {'part has' if count == 1 else 'parts have'} no counterpart:", file=sys.stderr)
        for one in imported.missing:
            print(f"  {one.node}: {one.what}", file=sys.stderr)
    for note in imported.notes:
        print(f"note: {note}", file=sys.stderr)
