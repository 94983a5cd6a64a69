"""`lanemesh validate`: every fault of a pipeline, in its place."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lanemesh.client.node_types import NodeTypeInfo, encode_node_type
from lanemesh.pipeline_faults import PipelineFault

from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.input.documents import PipelineFile, parse_settings, pipeline_of
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host
from lanemesh_orchestrator.cli.interrupts import Interrupts
from lanemesh_orchestrator.cli.output.faults import count, is_warning, render_faults
from lanemesh_orchestrator.cli.output.streams import is_terminal, styled
from lanemesh_orchestrator.pipeline.faults import listed

if TYPE_CHECKING:
    from lanemesh_orchestrator.pipeline import Graph


def validate(pipe: str, settings: Sequence[str], host: HostOptions, *, as_json: bool, source: str = "") -> ExitCode:
    """Prints the faults of a pipeline, or its graph if there are none. Warnings do not make it invalid."""
    return asyncio.run(_main(pipe, settings, host, as_json=as_json, source=source))


async def _main(pipe: str, given: Sequence[str], options: HostOptions, *, as_json: bool, source: str) -> ExitCode:
    settings = parse_settings(given)
    with Interrupts():
        pipeline = await pipeline_of(pipe, options)
        async with open_host(options) as host:
            faults = await host.validate(
                pipeline.document, settings=settings, variables=pipeline.variables, source=source
            )
            is_valid = all(map(is_warning, faults))
            types = await host.node_types(pipeline.providers()) if is_valid and not as_json else []
    if as_json:
        print(json_text(to_json(pipeline, faults), indent=2))
    else:
        width = shutil.get_terminal_size((100, 24)).columns if is_terminal(sys.stdout) else 100
        if faults:
            print(render_faults(pipeline.name, pipeline.text, faults, width=width, styled=styled(sys.stdout)))
        if is_valid:
            drawing = _drawing(pipeline, types, settings, width, source)
            print(f"{'' if faults else f'{pipeline.name}: valid'}\n{drawing}" if drawing else f"{pipeline.name}: valid")
    return ExitCode.COMPLETED if is_valid else ExitCode.INVALID


def to_json(pipeline: PipelineFile, faults: Sequence[PipelineFault]) -> dict[str, Any]:
    """The object of `--json`: `pipeline`, `valid` and `faults`, each with `pointer`, `reason`, `message`, `hint`, `severity` (error
    or warning), and `line` and `column` (from 1) in the document."""
    from lanemesh_orchestrator.pipeline.positions import locate

    shown = []
    for fault in faults:
        place = locate(pipeline.text, fault.pointer)
        shown.append(
            {
                "pointer": fault.pointer,
                "reason": fault.reason,
                "message": fault.message,
                "hint": fault.hint,
                "severity": fault.severity,
                "line": place.line,
                "column": place.column,
            }
        )
    valid = all(map(is_warning, faults))
    return {"pipeline": pipeline.name, "valid": valid, "summary": count(faults) if faults else "valid", "faults": shown}


def _drawing(
    pipeline: PipelineFile, types: Sequence[NodeTypeInfo], settings: dict[str, Any], width: int, source: str
) -> str:
    """The graph as text, or the part of `source`; below it what runs of each source take.

    Empty if it is unknown here, such as if a variable is set only on the mesh."""
    from lanemesh_orchestrator.pipeline import PipelineInvalid, parse, resolve, run_graph
    from lanemesh_orchestrator.pipeline.drawing import draw

    try:
        document = parse(pipeline.text, environment=os.environ, settings=settings)
        graph = resolve(document, {one.provider: encode_node_type(one) for one in types}, source=source)
        drawn = draw(run_graph(graph, source) if source else graph, width=width)
        return "\n".join([drawn.rstrip("\n"), *(() if source else _parts(graph))])
    except PipelineInvalid:
        return ""


def _parts(graph: Graph) -> Iterator[str]:
    """What runs take of a pipeline with several sources: a line for each source."""
    for source, part in graph.parts.items():
        others = [name for name in part.components if name != source]
        default = ", the default" if source == graph.default_source else ""
        yield f"--source {source}{default}: runs {listed([source, *others])}"
