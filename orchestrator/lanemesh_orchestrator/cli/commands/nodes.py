"""`lanemesh nodes`: the node types there are, one of them in full, and the node servers of a mesh."""

from __future__ import annotations

import asyncio
import difflib
import io
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lanemesh.client.node_servers import NodeServerInfo
from lanemesh.client.node_types import InputInfo, NodeTypeInfo, OutputInfo, encode_node_type
from lanemesh.faults import LanemeshError
from lanemesh.node.packages import install_command

from lanemesh_orchestrator.cli.commands import node_servers
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host
from lanemesh_orchestrator.cli.interrupts import Interrupts
from lanemesh_orchestrator.cli.output.settings import settings
from lanemesh_orchestrator.cli.output.streams import is_terminal
from lanemesh_orchestrator.cli.output.visible import cells, visible
from lanemesh_orchestrator.record_json import node_server_json, node_type_json

_PIPE_WIDTH = 160
"""Width of a table in a pipe or a file, in characters."""


def nodes(provider: str | None, host: HostOptions, *, servers: bool, as_json: bool) -> ExitCode:
    """Prints the node types of a mesh, or one of them, or its node servers; without `as_json` both of a mesh elsewhere."""
    if servers and host.mesh is None:
        raise CommandError("--servers needs a permanent mesh: name it with --mesh HOST:PORT.")
    if servers and provider is not None:
        raise CommandError(
            f"--servers lists all node servers; remove {provider}, or remove --servers to see the node type."
        )
    return asyncio.run(_main(provider, host, servers=servers, as_json=as_json))


async def _main(provider: str | None, options: HostOptions, *, servers: bool, as_json: bool) -> ExitCode:
    with Interrupts():
        async with open_host(options) as host:
            manifests = await host.node_types()
            listed = await host.node_servers() if options.mesh is not None else []
    if servers:
        _print_json([node_server_json(server) for server in listed]) if as_json else _print_servers(listed)
        return ExitCode.COMPLETED
    if provider is None:
        _print_json([node_type_json(manifest) for manifest in manifests]) if as_json else _print_table(manifests)
        if options.mesh is not None and not as_json:
            print()
            _print_servers(listed)
        return ExitCode.COMPLETED
    manifest = find(provider, manifests)
    if as_json:
        _print_json(node_type_json(manifest))
    else:
        _print_one(manifest, where_it_runs(manifest, listed if options.mesh is not None else None))
    return ExitCode.COMPLETED


def find(provider: str, manifests: Sequence[NodeTypeInfo]) -> NodeTypeInfo:
    """The manifest of a provider, by its name or an alias. Raises `CommandError` with the nearest name if there is none."""
    from lanemesh.node.names import by_name

    names = by_name(manifests)
    if provider in names:
        return names[provider]
    near = difflib.get_close_matches(provider, list(names), n=1, cutoff=0.6)
    hint = f"Nearest: {near[0]}." if near else "`lanemesh nodes` lists them."
    raise CommandError(f"There is no node type {provider}. {hint} Node types of a Python file need --nodes FILE.py.")


def _print_json(value: Any) -> None:
    print(json_text(value, indent=2))


def _print_table(manifests: Sequence[NodeTypeInfo]) -> None:
    if not manifests:
        print("There are no node types. Start a node server with: lanemesh node SERVICE --orchestrator ADDRESS")
        return
    from rich.table import Table

    table = Table("node type", "service", "takes", "gives", "what it does", box=None, pad_edge=False)
    for manifest in sorted(manifests, key=lambda manifest: (manifest.service, manifest.provider)):
        gives = ", ".join(
            (*(port_name(port) for port in manifest.outputs), *(f"helps as {kind}" for kind in manifest.offers))
        )
        summary = manifest.description.strip().split("\n")[0]
        if manifest.aliases:
            summary += f"\naliases: {', '.join(manifest.aliases)}"
        takes = ", ".join(port_name(port) for port in manifest.inputs)
        mark = " *" if manifest.missing_packages else ""
        texts = (manifest.provider + mark, manifest.service, takes, gives, summary)
        table.add_row(*cells(texts))
    print_rich(table)
    if any(manifest.missing_packages for manifest in manifests):
        print("\n* Python packages are missing; `lanemesh nodes NAME` shows the command that installs them.")


def _print_servers(servers: Sequence[NodeServerInfo]) -> None:
    if servers:
        print_rich(node_servers.table(servers))
    else:
        print(node_servers.NONE)


def port_name(port: InputInfo | OutputInfo) -> str:
    """A port for people: `questions`, `shouted (text)`, `documents?` if optional, `items[]` if it collects."""
    lane = port.lane or "any lane"
    name = lane if port.name in (lane, "") else f"{port.name} ({lane})"
    if isinstance(port, InputInfo):
        name += ("[]" if port.is_list else "") + ("" if port.required else "?")
    return name


def where_it_runs(manifest: NodeTypeInfo, servers: Sequence[NodeServerInfo] | None) -> str:
    """Where components of a node type run: `servers` are those of a permanent mesh; None: the pipeline runs on this machine."""
    if manifest.boundary is not None:
        return "in the orchestrator, since clients feed or read it"
    if servers is None:
        environment = _environment_of(manifest.service)
        return environment or f"in this process, or with --spread in a process of the service {manifest.service}"
    offering = [server for server in servers if manifest.provider in server.node_types]
    names = [
        f"{server.name} (packages are missing)" if manifest.provider in server.incomplete_node_types else server.name
        for server in offering
        if manifest.provider not in {*server.conflicting_node_types, *server.replaced_node_types}
    ]
    return f"on the node servers {', '.join(names)}" if names else "on no node server"


def _environment_of(service: str) -> str:
    """Where a service runs that has a Python environment of its own; empty if it has none."""
    from lanemesh.server.environments import environment_of, interpreter_of
    from lanemesh.server.services import service_names

    if service not in service_names() or environment_of(service) is None:
        return ""
    try:
        return f"in a Python environment of its own: {interpreter_of(service)}"
    except LanemeshError as error:
        return f"in a Python environment of its own, which has not been made: {error.fault.message.rpartition(': ')[2]}"


def _print_packages(manifest: NodeTypeInfo) -> None:
    if not manifest.packages:
        return
    states = (f"{name}{' (missing)' if name in manifest.missing_packages else ''}" for name in manifest.packages)
    print()
    _print_wrapped(f"needs the Python packages: {', '.join(states)}", hang="  ")
    if manifest.missing_packages or manifest.extra:
        verb = "install them with" if manifest.missing_packages else "which come with"
        print(f"  {verb}: {install_command(encode_node_type(manifest))}")


def _print_one(manifest: NodeTypeInfo, where: str) -> None:
    print(visible(f"{manifest.provider} {manifest.version}   service {manifest.service}".rstrip()))
    for number, paragraph in enumerate(re.split(r"\n\s*\n", manifest.description.strip())):
        print("\n" if number else "", end="")
        _print_wrapped(paragraph, indent="  ", hang="  ")
    print()
    _print_wrapped(f"runs {where}", hang="  ")
    _print_packages(manifest)
    _print_ports("takes", manifest.inputs)
    _print_ports("gives", manifest.outputs)
    if manifest.offers:
        print(visible(f"\ncan be a helper of the kind: {', '.join(manifest.offers)}"))
    if manifest.invokes:
        wanted = (
            f"{call.class_type}{f' {call.name}' if call.name else ''} {call.min}..{call.max or '*'}"
            for call in manifest.invokes
        )
        print(visible(f"\ncalls: {', '.join(wanted)}"))
    if manifest.aliases:
        print()
        _print_wrapped(f"aliases: {', '.join(manifest.aliases)}", hang="  ")
    if manifest.profiles:
        print("\nprofiles")
        for name, values in manifest.profiles.items():
            _print_wrapped(f"{name}: {json.dumps(values, ensure_ascii=False)}", indent="  ", hang="    ")
    _print_config(manifest.config_schema)


def _print_ports(title: str, ports: Iterable[InputInfo | OutputInfo]) -> None:
    entries = [port_name(port) + (f": {port.description}" if port.description else "") for port in ports]
    if entries:
        print(f"\n{title}")
    for entry in entries:
        _print_wrapped(entry, indent="  ", hang="    ")


def _print_wrapped(text: str, *, indent: str = "", hang: str = "") -> None:
    """Prints a paragraph, broken between words at the width of the terminal. `hang` begins its further lines."""
    width = shutil.get_terminal_size((80, 24)).columns if is_terminal(sys.stdout) else _PIPE_WIDTH
    print(
        textwrap.fill(
            visible(" ".join(text.split())),
            max(40, width),
            initial_indent=indent,
            subsequent_indent=hang,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _print_config(schema: Mapping[str, Any]) -> None:
    found = settings(schema)
    if not found:
        return
    from rich.table import Table

    table = Table("setting", "type", "default", "meaning", box=None, pad_edge=False)
    for setting in found:
        texts = (setting.name, setting.type, setting.default, setting.meaning)
        table.add_row(*cells(texts))
    print("\nconfig")
    print_rich(table)


def print_rich(table: Any) -> None:
    """Prints a table of rich, as wide as the terminal, or 160 columns elsewhere."""
    from rich.console import Console

    if is_terminal(sys.stdout):
        Console(highlight=False).print(table)
        return
    text = io.StringIO()
    Console(file=text, width=_PIPE_WIDTH, highlight=False).print(table)
    print("\n".join(line.rstrip() for line in text.getvalue().splitlines()))
