"""Commands for pipelines and the node types that they can use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.options import (
    Common,
    Debug,
    Json,
    Log,
    Mesh,
    Nodes,
    Output,
    Pipe,
    SessionId,
    Settings,
    SourceId,
    SpreadTo,
    Store,
    Trace,
    command,
    host_options,
)

pipeline_app = typer.Typer()


@pipeline_app.command()
@command
def run(
    pipe: Pipe,
    texts: Annotated[
        list[str] | None, typer.Option("--input", metavar="TEXT", help="Use this text as an input. Repeatable.")
    ] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option("--file", metavar="FILE", help="Use the content of this file as an input. Repeatable."),
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Use each line of standard input, or of --file, as one input.")
    ] = False,
    settings: Settings = None,
    spread: SpreadTo = None,
    mesh: Mesh = None,
    nodes: Nodes = None,
    store: Store = None,
    output: Output = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Draw the graph with its state while the run is active.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one update per line, as JSON.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0.0, help="Time limit of the run.")
    ] = None,
    trace: Annotated[
        Trace | None, typer.Option("--trace", help="Report each item that reaches a node, at this level of detail.")
    ] = None,
    session: SessionId = "",
    source: SourceId = "",
    detach: Annotated[
        bool, typer.Option("--detach", help="Start the run on the mesh, print its id, and exit.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only outputs, logs and errors.")] = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Run a pipeline. Outputs go to standard output, everything else to standard error.

    The input comes from --input, --file, or standard input.
    """
    from lanemesh_orchestrator.cli.commands.run import RunOptions
    from lanemesh_orchestrator.cli.commands.run import run as run_pipeline
    from lanemesh_orchestrator.cli.input.inputs import InputOptions

    options = RunOptions(
        pipe=pipe,
        input=InputOptions(texts=texts or (), files=files or (), lines=lines),
        host=host_options(spread, mesh, nodes, pipe, store),
        settings=settings or (),
        outputs=output or (),
        json=json,
        quiet=quiet,
        watch=watch,
        timeout=timeout,
        trace=trace.value if trace is not None else None,
        session=session,
        source=source,
        log_level=Common.level(),
    )
    if detach:
        from lanemesh_orchestrator.cli.commands.detach import detach as start_detached

        return start_detached(options)
    return run_pipeline(options)


@pipeline_app.command()
@command
def validate(
    pipe: Pipe,
    settings: Settings = None,
    source: SourceId = "",
    mesh: Mesh = None,
    nodes: Nodes = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Check a pipeline without running it, and list every fault with its position."""
    from lanemesh_orchestrator.cli.commands.validate import validate as validate_pipeline

    return validate_pipeline(pipe, settings or (), host_options(None, mesh, nodes, pipe), as_json=json, source=source)


@pipeline_app.command()
@command
def chat(
    pipe: Pipe,
    settings: Settings = None,
    spread: SpreadTo = None,
    mesh: Mesh = None,
    nodes: Nodes = None,
    history: Annotated[int, typer.Option("--history", metavar="TURNS", min=0, help="Earlier turns sent along.")] = 20,
    session: SessionId = "",
    source: SourceId = "",
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Chat with a pipeline. Ctrl-C cancels an answer, Ctrl-D ends the chat, /help lists commands."""
    from lanemesh_orchestrator.cli.commands.chat import chat as hold_chat
    from lanemesh_orchestrator.cli.commands.chat_session import ChatOptions

    options = ChatOptions(
        pipe=pipe,
        host=host_options(spread, mesh, nodes, pipe),
        settings=settings or (),
        turns=history,
        session=session,
        source=source,
        debug=Common.debug,
        log_level=Common.level(),
    )
    return hold_chat(options)


@pipeline_app.command(name="import")
@command
def import_(
    file: Annotated[str, typer.Argument(metavar="GRAPH", help="The workflow of NodeTool, a JSON file.")],
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the pipeline to a file.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if a part of the workflow has no counterpart.")
    ] = False,
    mesh: Mesh = None,
    nodes: Nodes = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Turn a workflow of NodeTool into a pipeline, and list what has no counterpart."""
    from lanemesh_orchestrator.cli.commands.importing import import_workflow

    return import_workflow(file, host_options(None, mesh, nodes), output=output, strict=strict)


@pipeline_app.command()
@command
def schema(
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the schema to a file instead of standard output."),
    ] = None,
    mesh: Mesh = None,
    nodes: Nodes = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Print the JSON Schema of pipelines, for completion and checks in editors."""
    from lanemesh_orchestrator.cli.commands.schema import schema as print_schema

    return print_schema(host_options(None, mesh, nodes), output)


@pipeline_app.command(name="nodes")
@command
def list_nodes(
    provider: Annotated[
        str | None, typer.Argument(metavar="[PROVIDER]", help="Show all details of this node type.")
    ] = None,
    mesh: Mesh = None,
    servers: Annotated[bool, typer.Option("--servers", help="List the node servers of the mesh.")] = False,
    nodes: Nodes = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """List the available node types, and the node servers of a mesh."""
    from lanemesh_orchestrator.cli.commands.nodes import nodes as show_nodes

    return show_nodes(provider, host_options(None, mesh, nodes), servers=servers, as_json=json)
