"""Writes the generated part of the pages in docs/nodes, one for each service, and their index, from the manifests of node types.

`python tests/node_pages.py` writes them; `make node-pages` calls it. The text above the mark `<!-- nodes -->` is written by hand.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lanemesh import Node, Service
from lanemesh.client.node_types import InputInfo, NodeTypeInfo, OutputInfo, decode_node_type
from lanemesh.node.manifest import manifest_of
from lanemesh.server.services import InstalledServices, service_names
from lanemesh_orchestrator.cli.commands.nodes import port_name
from lanemesh_orchestrator.cli.output.settings import settings

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "nodes"
INDEX = FOLDER / "README.md"
BEGIN, END = "<!-- nodes -->", "<!-- /nodes -->"
"""The marks around the generated part of a page."""


def families() -> dict[str, Service]:
    """The installed services with node types, by name."""
    installed = InstalledServices()
    found = {name: installed.load(name) for name in service_names()}
    return {name: service for name, service in found.items() if service.nodes}


def page(service: Service) -> str:
    """The page of a service: what is written by hand, and the generated part."""
    file = FOLDER / f"{service.name}.md"
    written = file.read_text(encoding="utf-8") if file.exists() else f"# {service.name}\n\n{_about(service)}\n"
    above, begin, rest = written.partition(BEGIN)
    below = rest.partition(END)[2] if begin else ""
    generated = "\n".join(_family(service)).strip()
    return f"{above.rstrip()}\n\n{BEGIN}\n\n{generated}\n\n{END}\n{below.lstrip()}"


def index() -> str:
    """The page that lists all node types."""
    lines = [
        "# Node types",
        "",
        "The node types that come with Lanemesh, by service. `lanemesh nodes` lists them, `lanemesh nodes NAME` shows one in full.",
        "How to write your own: [Writing nodes](../nodes.md).",
        "",
    ]
    for name, service in families().items():
        lines += [f"## [{name}]({name}.md)", "", "| node type | what it does | extra |", "|---|---|---|"]
        for node in _nodes(service):
            summary = _cell(node.description.split("\n\n")[0].replace("\n", " "))
            extra = f"`{node.extra}`" if node.extra else ""
            lines.append(f"| [`{node.provider}`]({name}.md#{_anchor(node.provider)}) | {summary} | {extra} |")
        lines.append("")
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """The generated pages by their files."""
    return {FOLDER / f"{name}.md": page(service) for name, service in families().items()} | {INDEX: index()}


def _about(service: Service) -> str:
    module = sys.modules[service.nodes[0].__module__.rpartition(".")[0]]
    return inspect.cleandoc(module.__doc__ or "")


def _nodes(service: Service) -> list[NodeTypeInfo]:
    """The node types of a service, in alphabetical order."""
    found = [decode_node_type(manifest_of(node, service.name)) for node in service.nodes]
    return sorted(found, key=lambda node: node.provider)


def _family(service: Service) -> Iterator[str]:
    classes: Mapping[str, type[Node]] = {node.provider: node for node in service.nodes}
    for node in _nodes(service):
        yield f"## `{node.provider}`"
        yield ""
        yield node.description.strip()
        yield ""
        yield from _facts(node, service, classes[node.provider])
        yield from _ports("input", node.inputs)
        yield from _ports("output", node.outputs)
        yield from _settings(node)
        yield from _profiles(node)


def _facts(node: NodeTypeInfo, service: Service, kind: type[Node]) -> Iterator[str]:
    if node.aliases:
        yield f"* Other names: {', '.join(f'`{alias}`' for alias in node.aliases)}"
    yield f"* Runs {_where(node, service)}"
    if node.packages and node.extra:
        yield f"* Needs `pip install 'lanemesh[{node.extra}]'`"
    elif service.environment is not None:
        yield f"* Needs `lanemesh env create {service.name}`"
    if node.offers:
        yield f"* Can be a helper of the kind {', '.join(node.offers)}, by `control`"
    if node.invokes:
        calls = (
            f"{one.class_type}{f' {one.name}' if one.name else ''} ({_count(one.min, one.max)})" for one in node.invokes
        )
        yield f"* Calls helpers: {', '.join(calls)}"
    if kind.restartable:
        yield "* Is placed again if its node server is lost"
    yield ""


def _where(node: NodeTypeInfo, service: Service) -> str:
    if node.boundary is not None:
        return "in the orchestrator"
    if service.environment is not None:
        return f"on a node server of the service `{service.name}`, in a Python environment of its own"
    return f"on a node server of the service `{service.name}`, or in the process of an embedded mesh"


def _count(least: int, most: int | None) -> str:
    if most is None:
        return f"{least} or more"
    return str(least) if least == most else f"{least} to {most}"


def _ports(side: str, ports: tuple[InputInfo, ...] | tuple[OutputInfo, ...]) -> Iterator[str]:
    if not ports:
        return
    yield f"| {side} | lane | content |"
    yield "|---|---|---|"
    for port in ports:
        content = port.description or ""
        if isinstance(port, InputInfo):
            notes = [text for text, holds in (("optional", not port.required), ("whole", port.assembled)) if holds]
            content = f"{content} ({', '.join(notes)})".strip() if notes else content
        lane = port_name(port) if not port.lane else port.lane
        yield f"| `{port.name}` | {_cell(lane)} | {_cell(content)} |"
    yield ""


def _settings(node: NodeTypeInfo) -> Iterator[str]:
    found = settings(node.config_schema)
    if not found:
        return
    yield "| setting | type | default | meaning |"
    yield "|---|---|---|---|"
    for setting in found:
        default = setting.default if setting.default == "required" else _code(json.loads(setting.default))
        yield f"| `{setting.name}` | {_cell(setting.type)} | {default} | {_cell(setting.meaning)} |"
    yield ""


def _profiles(node: NodeTypeInfo) -> Iterator[str]:
    if not node.profiles:
        return
    yield "| profile | settings |"
    yield "|---|---|"
    for name, values in node.profiles.items():
        yield f"| `{name}` | {_code(values)} |"
    yield ""


def _code(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=dict)
    return f"`{text}`".replace("|", "\\|") if len(text) <= 200 else f"`{text[:200]}`...".replace("|", "\\|")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _anchor(provider: str) -> str:
    return provider


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
