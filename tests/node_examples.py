"""Where each node type is shown at work, and which has no example: python tests/node_examples.py prints the table.

An example is a pipeline of examples/ whose command is on its page, or a block of Python of a page in docs/ that uses the node type:
by `run_node(Class, ...)`, by `pipeline.add("name", ...)`, or as a "provider" of a document. Both run in tests. An alias counts.
Each node type is in a pipeline of examples/ as well, also in one that runs elsewhere, such as with a key.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lanemesh.node.manifest import manifest_of
from lanemesh.server.services import InstalledServices, service_names

from demo import EXAMPLES, example_blocks
from pages import ROOT, blocks

ELSEWHERE = frozenset({"llm_anthropic", "llm_transformers", "tool_grpc"})
"""Node types whose example needs a key of its maker, a large model or another language; other tests run them."""


def names() -> dict[str, str]:
    """The node types of all services, by their names, those of their aliases, and those of their classes."""
    installed = InstalledServices()
    found: dict[str, str] = {}
    for service in service_names():
        for node in installed.load(service).nodes:
            provider = manifest_of(node).provider
            found |= dict.fromkeys((provider, *node.aliases, node.__name__), provider)
    return found


def providers_in(value: Any) -> Iterator[str]:
    """The providers of a document, and of the documents within."""
    if isinstance(value, Mapping):
        if isinstance(value.get("provider"), str):
            yield value["provider"]
        for inner in value.values():
            yield from providers_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from providers_in(inner)


def used_in(code: str) -> Iterator[str]:
    """The node types that a block of Python uses: names of providers and classes."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Attribute(attr="add"), args=[ast.Constant(value=str(name)), *_]):
                yield name
            case ast.Call(func=ast.Name(id="run_node"), args=[ast.Name(id=name), *_]):
                yield name
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    match key, value:
                        case ast.Constant(value="provider"), ast.Constant(value=str(name)):
                            yield name


def examples() -> dict[str, list[str]]:
    """The examples of each node type: files of pipelines, and places in pages."""
    known = names()
    found: dict[str, list[str]] = {provider: [] for provider in sorted(set(known.values()))}

    def add(name: str, where: str) -> None:
        if name in known and where not in found[known[name]]:
            found[known[name]].append(where)

    for pipeline in example_blocks():
        for name in providers_in(json.loads((EXAMPLES / f"{pipeline}.pipe").read_text(encoding="utf-8"))):
            add(name, f"examples/{pipeline}.pipe")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in blocks(page):
            for name in used_in(block.text) if block.info == "python" else ():
                add(name, _where(page, block.where))
    return found


def in_pipelines() -> set[str]:
    """The node types in the pipelines of examples/."""
    known = names()
    pipelines = [json.loads(path.read_text(encoding="utf-8")) for path in EXAMPLES.glob("*.pipe")]
    return {known[name] for pipeline in pipelines for name in providers_in(pipeline) if name in known}


def _where(page: Path, where: str) -> str:
    return f"{page.parent.relative_to(ROOT) / where}"


if __name__ == "__main__":
    table = examples()
    for provider, places in table.items():
        print(f"{provider:24}{', '.join(places) or '-'}")
    missing = [provider for provider, places in table.items() if not places and provider not in ELSEWHERE]
    if missing:
        sys.exit(f"Without an example: {', '.join(missing)}.")
