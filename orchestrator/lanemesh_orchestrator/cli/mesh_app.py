"""Commands for a mesh that lasts: its runs, the pipelines that are deployed on it, and how fast they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.options import (
    Common,
    Debug,
    Host,
    Json,
    Log,
    Mesh,
    Nodes,
    Output,
    Pipe,
    PipeFile,
    RunId,
    RunIds,
    Settings,
    SourceId,
    SpreadTo,
    State,
    StoreHere,
    command,
    host_options,
    mesh_address,
)

mesh_app = typer.Typer()


def _history(mesh: str | None, store: str | None) -> Any:
    """Where runs are looked up: in a store if one is named, else at an orchestrator."""
    return host_options(None, mesh if store is not None else mesh_address(mesh), None, store=store, read_only=True)


@mesh_app.command()
@command
def deploy(
    pipe: PipeFile,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the deployment, such as chat.")],
    settings: Settings = None,
    mesh: Mesh = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=0.0, help="Cancel each of its runs after this time."),
    ] = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Deploy a pipeline on a mesh under a name. A previous version serves runs until the new one is ready."""
    from lanemesh_orchestrator.cli.commands.deployments import deploy as deploy_pipeline

    return deploy_pipeline(pipe, name, settings or (), mesh=mesh_address(mesh), timeout=timeout)


@mesh_app.command(name="deployments")
@command
def list_deployments(mesh: Mesh = None, json: Json = False, debug: Debug = False, log_level: Log = None) -> ExitCode:
    """List the deployed pipelines of a mesh with their state, servers and runs."""
    from lanemesh_orchestrator.cli.commands.deployments import deployments as show_deployments

    return show_deployments(mesh=mesh_address(mesh), as_json=json)


@mesh_app.command()
@command
def undeploy(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Names of deployed pipelines.", show_default=False)
    ],
    mesh: Mesh = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Remove deployed pipelines. Active runs continue to their end."""
    from lanemesh_orchestrator.cli.commands.deployments import undeploy as undeploy_pipelines

    return undeploy_pipelines(names, mesh=mesh_address(mesh))


@mesh_app.command(name="runs")
@command
def list_runs(
    states: Annotated[
        list[State] | None, typer.Option("--state", help="List only runs in this state. Can be repeated.")
    ] = None,
    deployment: Annotated[
        str, typer.Option("--deployment", metavar="NAME", help="List only runs of this deployment.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Maximum number of runs.")] = 20,
    mesh: Mesh = None,
    store: StoreHere = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """List the runs of a mesh, latest first."""
    from lanemesh_orchestrator.cli.commands.runs import runs

    wanted = [state.value for state in states or ()]
    return runs(_history(mesh, store), states=wanted, deployment=deployment, limit=limit, as_json=json)


@mesh_app.command()
@command
def show(
    runs: RunIds,
    outputs: Annotated[
        bool, typer.Option("--outputs", help="Print only the outputs; with --json, one per line.")
    ] = False,
    updates: Annotated[bool, typer.Option("--updates", help="Print only the updates, one per line, as JSON.")] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print only the items that reached nodes, one per line.")
    ] = False,
    output: Output = None,
    mesh: Mesh = None,
    store: StoreHere = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per run, each on a line.")] = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Show runs, active or ended: outputs, nodes with times, helpers, tool calls, edges, logs and error."""
    from lanemesh_orchestrator.cli.commands.show import ShowOptions
    from lanemesh_orchestrator.cli.commands.show import show as show_run

    options = ShowOptions(outputs=outputs, updates=updates, trace=trace, files=output or (), json=json)
    return show_run(runs, _history(mesh, store), options)


@mesh_app.command()
@command
def watch(
    run: RunId,
    first: Annotated[int, typer.Option("--from", metavar="N", min=1, help="Start with update N.")] = 1,
    mesh: Mesh = None,
    json: Annotated[bool, typer.Option("--json", help="Print one update per line, as JSON.")] = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Follow a run to its end. Ctrl-C stops following; the run continues."""
    from lanemesh_orchestrator.cli.commands.watch import WatchOptions
    from lanemesh_orchestrator.cli.commands.watch import watch as watch_run

    options = WatchOptions(
        run=run, host=host_options(None, mesh_address(mesh), None), first=first, json=json, log_level=Common.level()
    )
    return watch_run(options)


@mesh_app.command()
@command
def cancel(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs: ids, the first characters of ids, or `last`.")
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Reason to record with the run.")
    ] = "cancelled by a user",
    mesh: Mesh = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Cancel runs."""
    from lanemesh_orchestrator.cli.commands.runs import cancel as cancel_runs

    return cancel_runs(runs, host_options(None, mesh_address(mesh), None), reason)


_Call = Annotated[
    str,
    typer.Argument(metavar="[CALL]", help="Id of the approval; default: the only pending one.", show_default=False),
]
_Component = Annotated[str, typer.Option("--component", metavar="NAME", help="Component that waits.")]


@mesh_app.command()
@command
def approve(
    run: RunId,
    call: _Call = "",
    component: _Component = "",
    mesh: Mesh = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Approve a call for which a run waits. `show` lists what it waits for."""
    from lanemesh_orchestrator.cli.commands.approvals import decide

    host = host_options(None, mesh_address(mesh), None)
    return decide(run, call, host, approved=True, component=component)


@mesh_app.command()
@command
def refuse(
    run: RunId,
    call: _Call = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Reason, which an agent's model reads.")] = "",
    component: _Component = "",
    mesh: Mesh = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Refuse a call for which a run waits."""
    from lanemesh_orchestrator.cli.commands.approvals import decide

    host = host_options(None, mesh_address(mesh), None)
    return decide(run, call, host, approved=False, component=component, reason=reason)


@mesh_app.command()
@command
def bench(
    pipe: Pipe,
    concurrency: Annotated[
        int,
        typer.Option("--concurrency", metavar="N", min=1, max=10_000, help="Keep N requests under way."),
    ] = 10,
    requests: Annotated[
        int | None,
        typer.Option(
            "--requests",
            metavar="N",
            min=1,
            help="Send N requests; default: 1,000, or any number with --duration.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="SECONDS", min=0.0, help="Send no further request after this time."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="TEXT",
            help="Input of each request; default: hello, if the pipeline has a source.",
            show_default=False,
        ),
    ] = None,
    warmup: Annotated[
        int,
        typer.Option(
            "--warmup",
            metavar="N",
            min=0,
            help="Requests before the measurement, one after the other; they load models.",
        ),
    ] = 1,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0.0, help="Time limit of each request.")
    ] = None,
    settings: Settings = None,
    source: SourceId = "",
    spread: SpreadTo = None,
    mesh: Mesh = None,
    nodes: Nodes = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Measure a pipeline: requests and items a second, and the times to the first item, between items and to the end.

    Every request is counted. The exit code is 1 if one failed.
    """
    from lanemesh_orchestrator.cli.commands.bench import BenchOptions
    from lanemesh_orchestrator.cli.commands.bench import bench as measure

    options = BenchOptions(
        pipe=pipe,
        text=text,
        concurrency=concurrency,
        requests=requests,
        duration=duration,
        warmup=warmup,
        timeout=timeout,
        settings=settings or (),
        source=source,
        host=host_options(spread, mesh, nodes, pipe),
        json=json,
    )
    return measure(options)


@mesh_app.command(name="mcp")
@command
def serve_mcp(
    mesh: Mesh = None,
    http: Annotated[
        int | None,
        typer.Option(
            "--http",
            metavar="PORT",
            min=0,
            max=65_535,
            help="Serve streamable HTTP on this port, 0: any free one; default: standard input and output.",
        ),
    ] = None,
    host: Host = "127.0.0.1",
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Require the token in this file of HTTP clients; default: that of LANEMESH_MCP_TOKEN, if it is set.",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow an address other than loopback without a token.")
    ] = False,
    additions: Annotated[
        Path | None,
        typer.Option("--with", metavar="FILE.py", help="Add the tools, resources and prompts of a Python file."),
    ] = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Offer the deployed pipelines of a mesh as tools to MCP clients."""
    from lanemesh_orchestrator.cli.commands.mcp import McpOptions, mcp

    options = McpOptions(
        mesh=mesh_address(mesh),
        port=http,
        host=host,
        token_file=token_file,
        insecure=insecure,
        additions=additions,
    )
    return mcp(options)


@mesh_app.command(name="a2a")
@command
def serve_a2a(
    mesh: Mesh = None,
    http: Annotated[
        int, typer.Option("--http", metavar="PORT", min=0, max=65_535, help="Port of JSON-RPC, 0: any free one.")
    ] = 8080,
    grpc: Annotated[
        int | None,
        typer.Option("--grpc", metavar="PORT", min=0, max=65_535, help="Port of gRPC, 0: any free one; default: none."),
    ] = None,
    host: Host = "127.0.0.1",
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Require the token in this file of clients; default: that of LANEMESH_A2A_TOKEN, if it is set.",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow an address other than loopback without a token.")
    ] = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Offer the deployed pipelines of a mesh as agents to A2A clients."""
    from lanemesh_orchestrator.cli.commands.a2a import A2aOptions, a2a

    options = A2aOptions(
        mesh=mesh_address(mesh), port=http, grpc_port=grpc, host=host, token_file=token_file, insecure=insecure
    )
    return a2a(options)
