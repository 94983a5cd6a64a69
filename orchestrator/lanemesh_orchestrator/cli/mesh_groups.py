"""Groups of commands for a mesh that lasts: its tools, and the conversations that it keeps."""

from __future__ import annotations

from typing import Annotated

import typer

from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.options import (
    Debug,
    Json,
    Log,
    Mesh,
    command,
    mesh_address,
)

sessions_app = typer.Typer(
    help="List, show, fork and delete the conversations that a mesh keeps.", no_args_is_help=True
)
tools_app = typer.Typer(help="List and call the tools of the deployed pipelines of a mesh.", no_args_is_help=True)


@tools_app.callback()
def tools() -> None:
    """List and call the tools of the deployed pipelines of a mesh."""


@tools_app.command(name="list")
@command
def tools_list(
    deployment: Annotated[
        str, typer.Option("--deployment", metavar="NAME", help="List only the tools of this deployment.")
    ] = "",
    mesh: Mesh = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """List the tools of the deployed pipelines of a mesh."""
    from lanemesh_orchestrator.cli.commands.tools import list_tools

    return list_tools(deployment, mesh=mesh_address(mesh), as_json=json)


@tools_app.command(name="call")
@command
def tools_call(
    name: Annotated[str, typer.Argument(metavar="TOOL", help="Name of the tool.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE...]", help="Its arguments, or one JSON object.", show_default=False),
    ] = None,
    deployment: Annotated[
        str, typer.Option("--deployment", metavar="NAME", help="Call the tool of this deployment.")
    ] = "",
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0.0, help="Time limit of the call.")
    ] = None,
    mesh: Mesh = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Call a tool of a mesh. The result goes to standard output, progress to standard error."""
    from lanemesh_orchestrator.cli.commands.tools import call_tool

    return call_tool(
        name, arguments or (), deployment=deployment, timeout=timeout, mesh=mesh_address(mesh), as_json=json
    )


_Session = Annotated[str, typer.Argument(metavar="SESSION", help="Id of the session.", show_default=False)]


@sessions_app.callback()
def sessions() -> None:
    """List, show, fork and delete the conversations that a mesh keeps."""


@sessions_app.command(name="list")
@command
def sessions_list(
    deployment: Annotated[
        str, typer.Option("--deployment", metavar="NAME", help="List only the sessions of this deployment.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Maximum number of sessions.")] = 20,
    mesh: Mesh = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """List the sessions of a mesh, the last used first."""
    from lanemesh_orchestrator.cli.commands.sessions import list_sessions

    return list_sessions(deployment, limit=limit, mesh=mesh_address(mesh), as_json=json)


@sessions_app.command(name="show")
@command
def sessions_show(
    session: _Session, mesh: Mesh = None, json: Json = False, debug: Debug = False, log_level: Log = None
) -> ExitCode:
    """Show the turns of a session."""
    from lanemesh_orchestrator.cli.commands.sessions import show_session

    return show_session(session, mesh=mesh_address(mesh), as_json=json)


@sessions_app.command(name="fork")
@command
def sessions_fork(
    session: _Session,
    turn: Annotated[
        int, typer.Option("--turn", metavar="N", min=0, help="Last turn of the new session; default: all turns.")
    ] = 0,
    new: Annotated[str, typer.Option("--id", metavar="ID", help="Id of the new session; default: a random id.")] = "",
    mesh: Mesh = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Copy the first turns of a session to a new one, and print its id."""
    from lanemesh_orchestrator.cli.commands.sessions import fork_session

    return fork_session(session, turn=turn, new=new, mesh=mesh_address(mesh))


@sessions_app.command(name="delete")
@command
def sessions_delete(
    sessions: Annotated[list[str], typer.Argument(metavar="SESSION...", help="Ids of sessions.", show_default=False)],
    mesh: Mesh = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Delete sessions with their turns."""
    from lanemesh_orchestrator.cli.commands.sessions import delete_sessions

    return delete_sessions(sessions, mesh=mesh_address(mesh))
