"""The command that tests a node server over the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.options import Debug, Json, Log, command

conformance_app = typer.Typer()


class Level(StrEnum):
    """The values of `--level`: the levels of docs/protocol.md."""

    L0 = "L0"
    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    L4 = "L4"
    L5 = "L5"
    L6 = "L6"


@conformance_app.command()
@command
def conformance(
    address: Annotated[
        str,
        typer.Argument(
            metavar="[ADDRESS]",
            help="The node server, as HOST:PORT; default: the one of this package, which is started for the test.",
            show_default=False,
        ),
    ] = "",
    level: Annotated[
        Level | None,
        typer.Option(
            "--level",
            help="The highest level to test; default: L2, and those whose features the server reports.",
            show_default=False,
        ),
    ] = None,
    checks: Annotated[
        list[str] | None,
        typer.Option("--check", metavar="ID", help="Only this check, or those whose ids begin so. Can be repeated."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the checks that wait for time limits of 10 s or more.")
    ] = False,
    listen: Annotated[
        str,
        typer.Option(
            "--listen", metavar="HOST", help="Address of this machine at which the node server reaches the test."
        ),
    ] = "127.0.0.1",
    list_checks: Annotated[bool, typer.Option("--list", help="List the checks, and test nothing.")] = False,
    nodes_file: Annotated[
        bool,
        typer.Option("--nodes-file", help="Print the path of the node types of the test in Python, and test nothing."),
    ] = False,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Test a node server of any language over the wire, by the rules of docs/protocol.md."""
    from lanemesh_orchestrator.cli.commands.conformance import ConformanceOptions, list_all, print_nodes_file
    from lanemesh_orchestrator.cli.commands.conformance import conformance as test_server

    if nodes_file:
        return print_nodes_file()
    if list_checks:
        return list_all(as_json=json)
    options = ConformanceOptions(
        address=address,
        level=level.value if level is not None else None,
        checks=checks or (),
        quick=quick,
        listen=listen,
        json=json,
    )
    return test_server(options)
