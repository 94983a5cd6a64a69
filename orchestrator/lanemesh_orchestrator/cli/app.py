"""The command line: its groups of commands. The code of a command is imported only when it runs, so that `--help` is fast."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import typer

from lanemesh_orchestrator.cli.conformance_app import conformance_app
from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.input.encoding import set_up_streams
from lanemesh_orchestrator.cli.local_app import env_app, local_app, models_app
from lanemesh_orchestrator.cli.mesh_app import mesh_app
from lanemesh_orchestrator.cli.mesh_groups import sessions_app, tools_app
from lanemesh_orchestrator.cli.options import Debug, Log, Spread
from lanemesh_orchestrator.cli.pipeline_app import pipeline_app
from lanemesh_orchestrator.cli.server_app import gpu_app, server_app
from lanemesh_orchestrator.cli.web_app import web_app

typer_app = typer.Typer(
    name="lanemesh",
    help="Streaming AI pipelines on a mesh of gRPC node servers.",
    epilog="Exit codes: 0 completed, 1 failed, 2 invalid pipeline or usage, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
typer_app.add_typer(pipeline_app)
typer_app.add_typer(server_app)
typer_app.add_typer(conformance_app)
typer_app.add_typer(local_app)
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
        command()(with_spread_value(given), prog_name="lanemesh")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.FAILED
    return ExitCode.COMPLETED


@cache
def command() -> Any:
    """The command `lanemesh` with all its subcommands. To make it takes longer than to run many of them."""
    return typer.main.get_command(typer_app)


def with_spread_value(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--spread` as `--spread=service`: options with optional values are not typer's."""
    plain = list(arguments)
    end = plain.index("--") if "--" in plain else len(plain)
    for place in range(end):
        follows = plain[place + 1] if place + 1 < end else ""
        if plain[place] == "--spread" and follows not in [spread.value for spread in Spread]:
            plain[place] = f"--spread={Spread.SERVICE.value}"
    return plain


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
