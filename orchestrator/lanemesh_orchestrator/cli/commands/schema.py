"""`lanemesh schema`: the JSON Schema of pipelines, for editors."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from lanemesh.client.node_types import NodeTypeInfo, encode_node_type

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host
from lanemesh_orchestrator.cli.interrupts import Interrupts


def schema(host: HostOptions, output: Path | None) -> ExitCode:
    """Prints the schema of pipelines for the node types of a mesh, or writes it to a file."""
    from lanemesh_orchestrator.pipeline.document_schema import document_schema

    text = (
        json.dumps(
            document_schema(list(map(encode_node_type, asyncio.run(_node_types(host))))), indent=1, ensure_ascii=False
        )
        + "\n"
    )
    if output is None or str(output) == "-":
        sys.stdout.write(text)
        return ExitCode.COMPLETED
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--output {output}: it cannot be written: {error.strerror}.") from None
    return ExitCode.COMPLETED


async def _node_types(options: HostOptions) -> list[NodeTypeInfo]:
    with Interrupts():
        async with open_host(options) as host:
            return await host.node_types()
