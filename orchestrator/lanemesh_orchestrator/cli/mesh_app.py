"""Commands for a mesh that lasts: its runs, and the pipelines that are deployed on it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.options import (
    DEFAULT_MESH,
    Common,
    Debug,
    Json,
    Log,
    MeshHere,
    Output,
    PipeFile,
    RunId,
    Settings,
    State,
    StoreHere,
    command,
    host_options,
)

mesh_app = typer.Typer()


def _known(mesh: str, store: str | None) -> Any:
    """Who knows of runs: a store if one is named, else a mesh."""
    return host_options(None, None if store is not None else mesh, None, store=store, read_only=True)


@mesh_app.command()
@command
def deploy(
    pipe: PipeFile,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The name to run it by, such as chat.")],
    settings: Settings = None,
    mesh: MeshHere = DEFAULT_MESH,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0.0, help="Time that each of its runs may take.")
    ] = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Keep a pipeline ready on a mesh, under a name; a version there was before goes on until this one is ready."""
    from lanemesh_orchestrator.cli.commands.deployments import deploy as deploy_pipeline

    return deploy_pipeline(pipe, name, settings or (), mesh=mesh, timeout=timeout)


@mesh_app.command(name="deployments")
@command
def list_deployments(
    mesh: MeshHere = DEFAULT_MESH, json: Json = False, debug: Debug = False, log_level: Log = None
) -> ExitCode:
    """List the deployed pipelines of a mesh: whether they are ready, where, and their runs."""
    from lanemesh_orchestrator.cli.commands.deployments import deployments as show_deployments

    return show_deployments(mesh=mesh, as_json=json)


@mesh_app.command()
@command
def undeploy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The deployed pipeline.", show_default=False)],
    mesh: MeshHere = DEFAULT_MESH,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Take a deployed pipeline away. Its runs go on to their end."""
    from lanemesh_orchestrator.cli.commands.deployments import undeploy as undeploy_pipeline

    return undeploy_pipeline(name, mesh=mesh)


@mesh_app.command(name="runs")
@command
def list_runs(
    states: Annotated[list[State] | None, typer.Option("--state", help="Only runs in this state.")] = None,
    deployment: Annotated[str, typer.Option("--deployment", metavar="NAME", help="Only runs of this one.")] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Most runs.")] = 20,
    mesh: MeshHere = DEFAULT_MESH,
    store: StoreHere = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """List the runs that a mesh knows, the latest first."""
    from lanemesh_orchestrator.cli.commands.runs import runs

    wanted = [state.value for state in states or ()]
    return runs(_known(mesh, store), states=wanted, deployment=deployment, limit=limit, as_json=json)


@mesh_app.command()
@command
def show(
    run: RunId,
    outputs: Annotated[bool, typer.Option("--outputs", help="Print its outputs only.")] = False,
    updates: Annotated[bool, typer.Option("--updates", help="Print its updates only, one per line, as JSON.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Print the items that reached nodes only.")] = False,
    output: Output = None,
    mesh: MeshHere = DEFAULT_MESH,
    store: StoreHere = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Show a run, under way or ended: what became of it, its outputs, its nodes and edges, its error."""
    from lanemesh_orchestrator.cli.commands.show import ShowOptions
    from lanemesh_orchestrator.cli.commands.show import show as show_run

    options = ShowOptions(outputs=outputs, updates=updates, trace=trace, files=output or (), json=json)
    return show_run(run, _known(mesh, store), options)


@mesh_app.command()
@command
def watch(
    run: RunId,
    first: Annotated[int, typer.Option("--from", metavar="N", min=1, help="Begin with update N.")] = 1,
    mesh: MeshHere = DEFAULT_MESH,
    json: Annotated[bool, typer.Option("--json", help="Print one update per line, as JSON.")] = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Follow a run to its end. Ctrl-C leaves it alone."""
    from lanemesh_orchestrator.cli.commands.watch import WatchOptions
    from lanemesh_orchestrator.cli.commands.watch import watch as watch_run

    options = WatchOptions(
        run=run, host=host_options(None, mesh, None), first=first, json=json, log_level=Common.level()
    )
    return watch_run(options)


@mesh_app.command()
@command
def cancel(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs: their ids, beginnings of them, or `last`.")
    ],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for people.")] = "cancelled by a user",
    mesh: MeshHere = DEFAULT_MESH,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Cancel runs."""
    from lanemesh_orchestrator.cli.commands.runs import cancel as cancel_runs

    return cancel_runs(runs, host_options(None, mesh, None), reason)
