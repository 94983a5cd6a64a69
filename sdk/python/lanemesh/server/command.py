"""The command `python -m lanemesh.server`: its options, and the life of its process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lanemesh._aio.exits import run
from lanemesh._aio.forks import end_children_with_us
from lanemesh._aio.parent import empty_standard_input, take_standard_input, when_parent_ends
from lanemesh._aio.signals import end_at_signals
from lanemesh._aio.tasks import abandoned
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.server.log_format import LineFormatter, quiet_libraries
from lanemesh.server.node_server import serve

INTERRUPTED = 130
"""Exit code after a second signal."""


def main() -> int:
    """Runs the server and returns its exit code: 0 when it has ended its runs, 1 if it could not serve, 2 for invalid options,
    130 after a second signal."""
    parser = argparse.ArgumentParser(prog="python -m lanemesh.server", description="Run a Lanemesh node server.")
    parser.add_argument("services", nargs="*", help="installed services to serve")
    parser.add_argument("--orchestrator", default="", metavar="HOST:PORT", help="orchestrator to join; default: none")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: any free one (%(default)s)")
    parser.add_argument(
        "--advertise", default="", metavar="HOST:PORT", help="address at which other servers reach this one"
    )
    parser.add_argument("--insecure", action="store_true", help="listen off loopback, without encryption")
    parser.add_argument("--name", default="", help="name in the mesh; default: from the names of the services")
    parser.add_argument("--replace", action="store_true", help="replace the node types of servers started before")
    parser.add_argument("--reload", action="store_true", help="load the files of --nodes again when they change")
    parser.add_argument("--nodes", action="append", default=[], type=Path, metavar="FILE.py", help="more node types")
    parser.add_argument(
        "--max-instances", type=int, default=0, metavar="N", help="maximum number of concurrent components; 0: no limit"
    )
    parser.add_argument(
        "--label", action="append", default=[], metavar="KEY=VALUE", help="label by which pipelines select this server"
    )
    parser.add_argument(
        "--files",
        action="append",
        default=[],
        type=Path,
        metavar="ROOT",
        help="configs may name files under this folder; default: the working directory and the model cache",
    )
    parser.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="NAME",
        help='configs may name this Python module and those below it; "*": every module; default: those under the file roots',
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="WHAT",
        help="components may do this: shell, write, hosts, host:NAME[:PORT], commands or command:LINE; default: none of these",
    )
    parser.add_argument(
        "--log-level", help="lowest level of log messages; default: warning, and info of Lanemesh itself"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="exit when standard input closes, as it does when the parent ends",
    )
    options = parser.parse_args()
    try:
        _use_environment(options.services)
        options.parent = take_standard_input() if options.exit_with_parent else None
        if options.parent is None:
            empty_standard_input()
        end_children_with_us()
        end_at_signals()
        _set_up_logs(options.log_level)
        return INTERRUPTED if run(_run(options)) else 0
    except LanemeshError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2 if error.fault.code in (Code.INVALID_ARGUMENT, Code.NOT_FOUND) else 1
    except KeyboardInterrupt:  # before the server handles signals
        return INTERRUPTED


def _use_environment(services: Sequence[str]) -> None:
    """Replaces this process by one of the Python environment that the services need. No effect if they need none, or are in it.

    Raises:
        LanemeshError: the environment has not been made, services need different ones, or one of them is unknown or broken.
    """
    from lanemesh.server.environments import interpreter_of

    needed = {service: interpreter_of(service) for service in services}
    others = {service: python for service, python in needed.items() if python != sys.executable}
    if not others:
        return
    if len(services) > 1:
        apart = ", ".join(others)
        message = (
            f"{apart} runs in a Python environment of its own: start a node server for it alone, lanemesh node {apart}"
        )
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-service", message=message))
    python = next(iter(others.values()))
    os.execv(python, [python, "-P", "-m", "lanemesh.server", *sys.argv[1:]])


def _set_up_logs(level: str | None) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=(level or "warning").upper(), handlers=[handler], force=True)
    quiet_libraries(logging.getLogger().level)
    if level is None:
        logging.getLogger("lanemesh").setLevel(logging.INFO)


async def _run(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    if options.parent is not None:
        when_parent_ends(options.parent, stop.set)
    code = await serve(
        options.services,
        orchestrator=options.orchestrator,
        name=options.name,
        host=options.host,
        port=options.port,
        advertise=options.advertise,
        insecure=options.insecure,
        nodes=options.nodes,
        max_instances=options.max_instances,
        labels=dict(label.partition("=")[::2] for label in options.label),
        files=options.files,
        modules=options.module,
        allow=options.allow,
        replace=options.replace,
        reload=options.reload,
        stop=stop,
    )
    if abandoned():  # closing unfinished work would only log errors
        os._exit(INTERRUPTED if code else 0)
    return code
