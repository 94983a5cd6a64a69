"""Options of several commands, and the decorator for commands."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ParamSpec, get_type_hints

import typer

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.encoding import recoded, require_text

DEFAULT_MESH = "127.0.0.1:7070"
"""Default address of `lanemesh serve`."""

NO_MESH = "none"
"""The value of `--mesh` for no orchestrator, with any LANEMESH_MESH."""

_P = ParamSpec("_P")


class LogLevel(StrEnum):
    """The values of `--log-level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Spread(StrEnum):
    """The values of `--spread`."""

    SERVICE = "service"
    COMPONENT = "component"


class State(StrEnum):
    """The values of `--state`."""

    STARTING = "starting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Template(StrEnum):
    """The kinds of `lanemesh new`."""

    NODE = "node"
    PIPELINE = "pipeline"
    SERVICE = "service"


class Trace(StrEnum):
    """The values of `--trace`."""

    NONE = "none"
    METADATA = "metadata"
    SUMMARY = "summary"
    FULL = "full"


class Common:
    """The options of every command."""

    debug = False
    log_level: LogLevel | None = None

    @classmethod
    def set_debug(cls, value: bool) -> bool:
        cls.debug = cls.debug or value
        return value

    @classmethod
    def set_log_level(cls, value: LogLevel | None) -> LogLevel | None:
        cls.log_level = value or cls.log_level
        return value

    @classmethod
    def level(cls) -> int:
        """The lowest level of shown log lines."""
        return logging.getLevelNamesMapping()[cls.level_name().upper()]

    @classmethod
    def level_name(cls) -> str:
        """The same by its name."""
        return (cls.log_level or LogLevel.WARNING).value


Debug = Annotated[
    bool, typer.Option("--debug", help="Print tracebacks of errors.", callback=Common.set_debug, show_default=False)
]
Log = Annotated[
    LogLevel | None,
    typer.Option(
        "--log-level",
        help="Lowest level of log messages to print; default: warning.",
        callback=Common.set_log_level,
        show_default=False,
    ),
]
Pipe = Annotated[
    str,
    typer.Argument(
        metavar="PIPE",
        help="The pipeline: a .pipe file, or @NAME for a pipeline deployed on the mesh.",
        show_default=False,
    ),
]
PipeFile = Annotated[str, typer.Argument(metavar="PIPE", help="The pipeline: a .pipe file.", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="COMPONENT.KEY=VALUE", help="Set a config value, such as llm_1.temperature=0. Can be repeated."
    ),
]
SourceId = Annotated[
    str,
    typer.Option(
        "--source",
        metavar="ID",
        help="The source to run, of a pipeline that has several. What it does not reach is left out.",
        show_default=False,
    ),
]
SessionId = Annotated[
    str,
    typer.Option(
        "--session",
        metavar="ID",
        help="The session of the runs: they share its memory; the turns of a chat are kept. Use an id that others cannot guess.",
        show_default=False,
    ),
]
SpreadTo = Annotated[
    Spread | None,
    typer.Option("--spread", help="Run one local process per service, or per component, connected by gRPC."),
]
Mesh = Annotated[
    str | None,
    typer.Option(
        "--mesh",
        metavar="HOST:PORT",
        help="Use the orchestrator at this address; the variable LANEMESH_MESH is the default. none: no orchestrator.",
        show_default=False,
    ),
]
RunIds = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Runs: ids, the first characters of ids, or `last`.", show_default=False),
]
RunId = Annotated[
    str,
    typer.Argument(metavar="RUN", help="The run: its id, the first characters of it, or `last`.", show_default=False),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="PATH|URL", help="Record runs in this store: a file, or postgresql://user@host/database."
    ),
]
StoreHere = Annotated[
    str | None, typer.Option("--store", metavar="PATH|URL", help="Read this store instead of asking an orchestrator.")
]
Nodes = Annotated[
    list[Path] | None,
    typer.Option("--nodes", metavar="FILE.py", help="Add the node types of a Python file. Can be repeated."),
]
Output = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        metavar="COMPONENT=FILE",
        help="Write a component's outputs to a file; -: standard output.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", help="Port to listen on; 0: any free one.", min=0, max=65_535)]
Advertise = Annotated[
    str,
    typer.Option(
        "--advertise",
        metavar="HOST:PORT",
        help="Address at which other servers reach this one and no other; default: where it listens; for 0.0.0.0 the "
        "address of this machine.",
        show_default=False,
    ),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Allow unencrypted connections on addresses other than loopback.")
]

Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="Set a limit of this server, such as connections=500; default: the variable LANEMESH_LIMITS. Can be repeated.",
        show_default=False,
    ),
]


def use_limits(limits: Sequence[str] | None) -> None:
    """Lets the servers of this process, and of those that it starts, have these limits.

    Raises:
        LanemeshError: one of them, or LANEMESH_LIMITS, is invalid.
    """
    if limits:
        os.environ["LANEMESH_LIMITS"] = ",".join([*os.environ.get("LANEMESH_LIMITS", "").split(","), *limits])
    from lanemesh._grpc.limits import Limits as ServerLimits

    ServerLimits.of()


def command(function: Callable[_P, ExitCode]) -> Callable[_P, None]:
    """Runs a command's function, and ends with its exit code or that of its error."""

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        from lanemesh_orchestrator.cli.output.logs import set_up

        set_up(Common.level())
        try:
            code = function(*args, **_as_text(function, kwargs))
            if sys.stdout is not None:
                sys.stdout.flush()
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except BrokenPipeError:
            code = _without_stdout()
        except Exception as error:
            from lanemesh_orchestrator.cli.output.errors import report

            code = report(error, debug=Common.debug)
        raise typer.Exit(code)

    return run


_PATHS = ("pipe", "output", "store")
"""Parameters that may name a file. File names are bytes, which need not be valid Unicode."""


def _as_text(function: Callable[..., object], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as UTF-8 text in any locale. Raises `CommandError` for one that is not, or a variable in its place."""

    def text_of(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [text_of(name, part) for part in value]
        if not isinstance(value, str) or value.isascii() or (name in _PATHS and not value.startswith("@")):
            return value
        return require_text(_shown_name(function, name), recoded(value))

    return {name: text_of(name, value) for name, value in given.items()}


def _shown_name(function: Callable[..., object], name: str) -> str:
    """How help texts call a parameter: `--set`, or `RUN`."""
    hint = get_type_hints(function, include_extras=True)[name]
    for about in getattr(hint, "__metadata__", ()):
        # The first declaration of an option in `Annotated` is typer's `default` until the command is created.
        declared = (getattr(about, "default", None), *(getattr(about, "param_decls", None) or ()))
        option = next((part for part in declared if isinstance(part, str) and part.startswith("--")), None)
        return option or str(about.metavar or name.upper())
    return name.upper()


def _without_stdout() -> ExitCode:
    """The reader of standard output has closed it: Python must not report that at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return ExitCode.COMPLETED


def mesh_address(mesh: str | None) -> str:
    """The address of `--mesh`, else of LANEMESH_MESH, else the usual one. Raises `CommandError` for "none"."""
    address = mesh or _mesh_variable() or DEFAULT_MESH
    if address == NO_MESH:
        raise CommandError(f"This command needs an orchestrator: give its address, such as --mesh {DEFAULT_MESH}.")
    return address


def _mesh_variable() -> str | None:
    return require_text("LANEMESH_MESH", os.environ.get("LANEMESH_MESH", "").strip()) or None


def host_options(
    spread: Spread | None,
    mesh: str | None,
    nodes: Sequence[Path] | None,
    pipe: str | None = None,
    store: str | None = None,
    read_only: bool = False,
) -> Any:
    """Where a command runs pipelines, or finds runs. `read_only`: it only reads the store.

    Without `mesh`, the variable LANEMESH_MESH names it, unless another option starts a mesh within the command. A deployed
    pipeline, such as "@chat", is run by the mesh that has it: the default one unless another is named.
    """
    from lanemesh_orchestrator.cli.input.hosts import HostOptions

    needs_own = spread is not None or bool(nodes) or store is not None
    if mesh is None and not needs_own:
        mesh = _mesh_variable()
    if mesh is None and pipe is not None and pipe.startswith("@") and spread is None:
        mesh = DEFAULT_MESH
    if mesh == NO_MESH:
        mesh = None
    return HostOptions(
        spread=spread.value if spread else None,
        mesh=mesh,
        nodes=nodes or (),
        folder=Path(pipe).absolute().parent if pipe else None,
        store=store,
        read_only=read_only,
        log_level=Common.level_name(),
    )
