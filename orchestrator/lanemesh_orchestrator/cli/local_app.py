"""Commands for this machine alone: new files, Python environments and language models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.options import (
    Debug,
    Json,
    Log,
    Template,
    TokenScope,
    command,
)

local_app = typer.Typer()
env_app = typer.Typer(help="Manage the Python environments of services.", no_args_is_help=True)
models_app = typer.Typer(help="Manage named language models.", no_args_is_help=True)


@local_app.command()
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


@local_app.command()
@command
def certs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the files.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME[=HOST,...]...]",
            help="Certificates to make, each with the hosts at which it is reached; default: orchestrator, node and client.",
        ),
    ] = None,
    days: Annotated[float, typer.Option("--days", metavar="DAYS", min=0.01, help="How long they are valid.")] = 365.0,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Make a certificate authority for development, and certificates for TLS. Existing files are kept."""
    from lanemesh_orchestrator.cli.commands.certs import certs as make_certs

    return make_certs(folder, names or (), days)


@local_app.command()
@command
def token(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file of LANEMESH_AUTH; it is made if it is missing.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who sends the token, for logs.")],
    scopes: Annotated[
        list[TokenScope] | None, typer.Option("--scope", help="What its sender may do. Can be repeated.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the token to this new file; default: standard output."),
    ] = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Make a token, and add it to the tokens that servers accept."""
    from lanemesh._grpc.auth.scopes import Scope

    from lanemesh_orchestrator.cli.commands.certs import token as make_token

    return make_token(file, name, [Scope(scope.value) for scope in scopes or ()], output)


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
