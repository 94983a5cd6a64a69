"""Commands that run servers: orchestrators, node servers and GPU arbiters."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.options import (
    Advertise,
    Common,
    Debug,
    Host,
    Insecure,
    Json,
    Limits,
    Log,
    Nodes,
    Port,
    command,
    use_limits,
)
from lanemesh_orchestrator.cli.web_app import HostNames, Origins, TokenFile, WebhookSecrets, web_options

if TYPE_CHECKING:
    from lanemesh_orchestrator.cli.commands.gateway import WebOptions

DEFAULT_ARBITER = "127.0.0.1:7071"
"""Default address of `lanemesh gpu serve`."""

server_app = typer.Typer()
gpu_app = typer.Typer(help="Run and inspect the GPU arbiter, which leases GPUs to components.", no_args_is_help=True)


def _show_what_happens() -> None:
    """Servers log their address and the servers that join, unless `--log-level` excludes that."""
    if Common.log_level is None:
        logging.getLogger("lanemesh").setLevel(logging.INFO)


@server_app.command()
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
            "--variable",
            metavar="NAME",
            help="Let secret settings in pipelines of clients read this environment variable by ${NAME}.",
        ),
    ] = None,
    plain_variables: Annotated[
        list[str] | None,
        typer.Option(
            "--plain-variable",
            metavar="NAME",
            help="The same for all settings: clients may see the value of this variable.",
        ),
    ] = None,
    variables_file: Annotated[
        Path | None,
        typer.Option("--variables-file", metavar="FILE", help="--variable for the NAME=VALUE lines of a file."),
    ] = None,
    a2a: Annotated[
        bool, typer.Option("--a2a", help="Offer the deployments as agents to A2A clients, by gRPC.")
    ] = False,
    http: Annotated[
        int | None,
        typer.Option(
            "--http",
            metavar="PORT",
            min=0,
            max=65_535,
            help="Serve the web gateway at this port, on the same host; 0: any free one.",
        ),
    ] = None,
    token_file: TokenFile = None,
    origins: Origins = None,
    host_names: HostNames = None,
    webhook_secrets: WebhookSecrets = None,
    drain_seconds: Annotated[
        float,
        typer.Option(
            "--drain",
            metavar="SECONDS",
            min=0.0,
            envvar="LANEMESH_DRAIN",
            help="How long active runs may take to end after SIGTERM or Ctrl-C, before they are cancelled.",
        ),
    ] = 5.0,
    limits: Limits = None,
    audit_log: Annotated[
        Path | None,
        typer.Option(
            "--audit-log",
            metavar="FILE",
            envvar="LANEMESH_AUDIT_LOG",
            help="Append who ran, deployed, cancelled, decided and deleted what, one JSON object a line.",
            show_default=False,
        ),
    ] = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Run an orchestrator, which node servers join and which `lanemesh run --mesh` uses."""
    from lanemesh_orchestrator.cli.commands.servers import refuse_nodes
    from lanemesh_orchestrator.cli.commands.servers import serve as serve_orchestrator

    refuse_nodes(nodes or (), at=advertise or f"{host}:{port}")
    use_limits(limits)
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
        plain_variables=plain_variables or (),
        variables_file=variables_file,
        a2a=a2a,
        audit_log=audit_log,
        drain_seconds=drain_seconds,
        web=_web(http, host, token_file, origins, host_names, webhook_secrets, insecure=insecure),
    )


def _web(
    port: int | None,
    host: str,
    token_file: Path | None,
    origins: list[str] | None,
    names: list[str] | None,
    webhook_secrets: Path | None,
    *,
    insecure: bool,
) -> WebOptions | None:
    """The options of the gateway beside an orchestrator. Raises CommandError for options that need `--http`."""
    if port is None:
        if token_file or origins or names or webhook_secrets:
            raise CommandError(
                "--token-file, --origin, --host-name and --webhook-secrets are for the web gateway. Give --http PORT as well."
            )
        return None
    return web_options(port, host, token_file, insecure, origins, names, webhook_secrets)


@server_app.command()
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
    limits: Limits = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Run a node server. It joins an orchestrator, or `lanemesh serve --server` connects to it."""
    from lanemesh_orchestrator.cli.commands.servers import node as serve_node

    use_limits(limits)
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


Arbiter = Annotated[
    str, typer.Option("--arbiter", metavar="HOST:PORT", envvar="LANEMESH_GPU_ARBITER", help="Address of the arbiter.")
]


@gpu_app.command(name="serve")
@command
def gpu_serve(
    host: Host = "127.0.0.1",
    port: Port = 7071,
    insecure: Insecure = False,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", metavar="FILE", help="Keep fencing tokens and leases in this file for a restart."),
    ] = None,
    limits: Limits = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Run a GPU arbiter for the GPUs of this machine."""
    from lanemesh_orchestrator.cli.commands.gpu import gpu_serve as serve_gpus

    use_limits(limits)
    return serve_gpus(host=host, port=port, insecure=insecure, journal=journal)


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
    """Show the GPUs with their memory, models, lease holders and the queue."""
    from lanemesh_orchestrator.cli.commands.gpu import gpu_status as show_status

    return show_status(arbiter=arbiter, as_json=json)


@gpu_app.command(name="watch")
@command
def gpu_watch(
    arbiter: Arbiter = DEFAULT_ARBITER,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Show the GPUs, models and leases, and every change, until Ctrl-C."""
    from lanemesh_orchestrator.cli.commands.gpu import gpu_watch as show_changes

    return show_changes(arbiter=arbiter, as_json=json)


@gpu_app.command(name="explain")
@command
def gpu_explain(
    lease: Annotated[str, typer.Argument(metavar="[LEASE]", help="The id of a lease; default: all that wait.")] = "",
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="Only requests of this run.")] = "",
    component: Annotated[
        str, typer.Option("--component", metavar="NAME", help="Only requests of this component.")
    ] = "",
    arbiter: Arbiter = DEFAULT_ARBITER,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Explain why requests wait for a GPU, and who holds it."""
    from lanemesh_orchestrator.cli.commands.gpu import gpu_explain as explain

    return explain(arbiter=arbiter, lease=lease, run=run, component=component, as_json=json)


@gpu_app.command(name="simulate")
@command
def gpu_simulate(
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="A JSON file with devices and requests.")],
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Replay a trace of requests in simulated time: waits and loads of models, beside strict order and the fewest loads."""
    from lanemesh_orchestrator.cli.commands.gpu import gpu_simulate as replay

    return replay(file=trace, as_json=json)
