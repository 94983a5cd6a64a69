"""`lanemesh serve` and `lanemesh node`: the processes of a mesh that lasts."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.hosts import check_address, check_nodes

MAX_NAME = 64
"""Most characters of the name of a node server."""

if TYPE_CHECKING:
    from lanemesh_orchestrator.cli.commands.gateway import WebOptions
    from lanemesh_orchestrator.orchestrator_process import Beside
    from lanemesh_orchestrator.store.options import StoreOptions


def serve(
    *,
    host: str,
    port: int,
    advertise: str,
    insecure: bool,
    gpu_arbiter: str,
    servers: Sequence[str],
    store: str | None,
    shared_store: bool,
    keep_days: float,
    keep_runs: int,
    run_memory: int = 256,
    variables: Sequence[str] = (),
    plain_variables: Sequence[str] = (),
    variables_file: Path | None = None,
    a2a: bool = False,
    audit_log: Path | None = None,
    drain_seconds: float = 5.0,
    web: WebOptions | None = None,
) -> ExitCode:
    """Runs an orchestrator until SIGTERM or Ctrl-C. Runs are remembered in the user's own store unless `store` names another, or is
    "none". At most `run_memory` MiB of runs are kept in memory. `a2a` adds the service of A2A to its server.
    `audit_log` gets the acts of clients. Active runs have `drain_seconds` to end. `web`: a gateway is
    served beside it."""
    from lanemesh_orchestrator.orchestrator_process import serve as serve_orchestrator

    if advertise:
        check_address("--advertise", advertise)
    if gpu_arbiter:
        check_address("--gpu-arbiter", gpu_arbiter)
    for server in servers:
        check_address("--server", server.removeprefix("dns:///"))
    if audit_log is not None:
        from lanemesh_orchestrator.audit import write_audit_log

        write_audit_log(audit_log)
    more = None
    if a2a:
        from lanemesh_orchestrator.cli.commands.a2a import agents_of

        more = agents_of()
    serving = serve_orchestrator(
        host,
        port,
        advertise=advertise,
        insecure=insecure,
        gpu_arbiter=gpu_arbiter,
        servers=servers,
        store=_store_options(store, shared_store, keep_days, keep_runs),
        variables=_variables(variables, plain_variables, variables_file),
        plain_variables=plain_variables,
        run_memory=run_memory * 1024 * 1024,
        more=more,
        drain_seconds=drain_seconds,
        beside=_beside(web) if web is not None else None,
    )
    asyncio.run(serving)
    return ExitCode.COMPLETED


def _beside(web: WebOptions) -> Beside:
    from lanemesh_orchestrator.cli.commands.gateway import beside

    return beside(web)


def _variables(names: Sequence[str], plain: Sequence[str], file: Path | None) -> dict[str, str]:
    """The variables that documents of clients may use: those of a file of NAME=VALUE lines, and those of this environment. A
    `plain` one may be in the file."""
    found: dict[str, str] = {}
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeError) as error:
            raise CommandError(f"--variables-file {file} cannot be read: {error}.") from None
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, equals, value = line.partition("=")
            if not equals or not name.strip().isidentifier():
                raise CommandError(f"--variables-file {file}, line {number}: write NAME=VALUE.")
            found[name.strip()] = value
    missing = [name for name in plain if name not in found]
    for option, name in [*(("--variable", name) for name in names), *(("--plain-variable", name) for name in missing)]:
        if name not in os.environ:
            raise CommandError(
                f"{option} {name}: the environment variable {name} is not set. Set it, or remove the option."
            )
        found[name] = os.environ[name]
    return found


def _store_options(store: str | None, shared: bool, keep_days: float, keep_runs: int) -> StoreOptions | None:
    if store == "none":
        return None
    from lanemesh_orchestrator.store.location import default_store
    from lanemesh_orchestrator.store.options import StoreOptions

    return StoreOptions(location=store or default_store(), shared=shared, keep_days=keep_days, keep_runs=keep_runs)


def refuse_nodes(files: Sequence[Path], *, at: str) -> None:
    """Raises `CommandError` if there are any: an orchestrator, here to be reached at `at`, runs no nodes itself."""
    if files:
        raise CommandError(
            "`lanemesh serve` runs no nodes itself, so it has no --nodes. Start it without --nodes, and add node types with: "
            f"lanemesh node --nodes {files[0]} --orchestrator {at}"
        )


def node(
    services: Sequence[str],
    *,
    orchestrator: str,
    host: str,
    port: int,
    advertise: str,
    insecure: bool,
    name: str,
    nodes: Sequence[Path],
    reload: bool,
    replace: bool,
    max_instances: int,
    labels: Sequence[str],
    files: Sequence[Path],
    modules: Sequence[str],
    allow: Sequence[str],
    log_level: str | None,
    debug: bool,
) -> NoReturn:
    """Becomes a node server, which runs until SIGTERM or Ctrl-C. The first signal lets it finish its runs, the second one ends it
    at once.

    This process continues as `python -m lanemesh.server`, so that an idle server does not have the command line tool in its memory.
    """
    if orchestrator:
        check_address("--orchestrator", orchestrator)
    if advertise:
        check_address("--advertise", advertise)
    check_labels(labels)
    if not services and not nodes:
        raise CommandError(
            f"Nothing to serve: name services or give --nodes FILE.py. Installed services: {', '.join(installed())}."
        )
    check_nodes(nodes)
    check_name(name)
    if reload and not nodes:
        raise CommandError("--reload watches the files of --nodes: give --nodes FILE.py too.")
    arguments = [f"--orchestrator={orchestrator}", f"--host={host}", f"--port={port}", f"--advertise={advertise}"]
    arguments += [f"--name={name}"] if name else []
    arguments += [f"--nodes={file}" for file in nodes]
    arguments += [f"--label={label}" for label in labels]
    arguments += [f"--files={root}" for root in files]
    arguments += [f"--module={name}" for name in modules]
    arguments += [f"--allow={what}" for what in allow]
    arguments += [f"--max-instances={max_instances}"] if max_instances else []
    arguments += [f"--log-level={log_level}"] if log_level is not None else []
    flags = (("--insecure", insecure), ("--reload", reload), ("--replace", replace), ("--debug", debug))
    arguments += [flag for flag, given in flags if given]
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # -P: files of the working directory do not shadow modules.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "lanemesh.server", *arguments, "--", *services])


def check_name(name: str) -> None:
    """Raises `CommandError` for a name that would not fit on a line, or is taken."""
    from lanemesh_orchestrator.registry.registry import LOCAL

    if name == LOCAL:
        raise CommandError(f'--name {LOCAL}: the orchestrator itself is called "{LOCAL}". Choose another name.')
    if len(name) > MAX_NAME or not name.isprintable() or name != name.strip():
        raise CommandError(f"--name: a name has at most {MAX_NAME} printable characters, and no space at its ends.")


def check_labels(labels: Sequence[str]) -> None:
    """Raises `CommandError` unless each is KEY=VALUE, with each key once."""
    keys = [label.partition("=")[0] for label in labels]
    for label, key in zip(labels, keys, strict=True):
        if "=" not in label or not key:
            raise CommandError(f"--label {label}: write a label as KEY=VALUE, such as gpu=a100.")
        if keys.count(key) > 1:
            raise CommandError(f"--label {key} is given more than once: a label has one value per server.")


def installed() -> list[str]:
    """Names of the installed services."""
    from lanemesh.server.services import service_names

    return service_names()
