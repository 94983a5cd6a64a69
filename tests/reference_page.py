"""Writes docs/reference.md from the public names of `lanemesh` and `lanemesh.extend` and docs/reference_examples.py.

`python tests/reference_page.py` writes the page; `make reference` calls it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import lanemesh
from lanemesh import extend, json_values
from lanemesh.client.sync_runs import SyncDetachedRun, SyncRequest, SyncRun
from lanemesh.node import function_nodes, ports

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference.md"
EXAMPLES = ROOT / "docs" / "reference_examples.py"

_HEADING = re.compile(r"^# == (?P<title>[^:\n]+): (?P<names>.+)\n", re.MULTILINE)
_MADE_BY_OTHERS: tuple[type, ...] = (
    *(lanemesh.Run, lanemesh.Request, lanemesh.DetachedRun, lanemesh.Context, lanemesh.Inputs),
    *(SyncRun, SyncRequest, SyncDetachedRun),
    *(lanemesh.LlmClient, lanemesh.ToolClient, lanemesh.MemoryClient, lanemesh.AgentClient),
    *(extend.UserCode, extend.UserCodeFailed, extend.Reloadable),
    *(lanemesh.ToolContext, lanemesh.ToolNode),
)
"""Classes that callers receive or derive from, and do not construct; their signatures are not part of the interface."""
PUBLIC = {**dict.fromkeys(lanemesh.__all__, lanemesh), **dict.fromkeys(extend.__all__, extend)}
"""The module of each public name."""
_ALIASES = {
    "ABSENT": ("ABSENT: Absent", "The value of an item that carries only an envelope."),
    "FILE_NAME": ('"file_name"', "The key in the metadata of an item with the name of the file that it comes from."),
    "ChatEvent": ("ChatText | ToolCall | Usage | ChatFinish", "One event of a model's turn."),
    "Json": ("dict | list | str | int | float | bool | None", "A JSON value, as a data lane carries it."),
}
"""Names without a docstring of their own: their definition and meaning."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the page."""

    title: str
    names: tuple[str, ...]
    text: str
    """Its introduction, one paragraph."""
    code: str
    printed: str


def sections() -> list[Section]:
    """The sections of the examples, in order."""
    text = EXAMPLES.read_text(encoding="utf-8")
    heads = list(_HEADING.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    return [_section(head, text[head.end() : end]) for head, end in zip(heads, ends, strict=True)]


def _section(head: re.Match[str], body: str) -> Section:
    lines = body.strip().splitlines()
    code = "\n".join(line for line in lines[1:] if not line.startswith("# ->")).strip()
    printed = "\n".join(line[4:].strip() for line in lines if line.startswith("# ->"))
    return Section(head["title"], tuple(head["names"].split(", ")), lines[0].removeprefix("# "), code, printed)


def page() -> str:
    """The page of all public names."""
    parts = [
        "# Reference",
        "The public names of `lanemesh` and `lanemesh.extend`, each with its signature and an example. The examples run one after "
        "the other. "
        "`make reference` generates this page from the docstrings and from [reference_examples.py](reference_examples.py).",
    ]
    for section in sections():
        parts += [f"## {section.title}", *_described(section.names)]
        parts += [section.text, f"```python\n{section.code}\n```", f"```text\n{section.printed}\n```"]
    return "\n\n".join(parts) + "\n"


def _described(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        signature, text = describe(name)
        yield f"**`{signature}`**\\\n{text}"


def describe(name: str) -> tuple[str, str]:
    """The signature of a public name, and the first paragraph of its docstring."""
    value = getattr(PUBLIC[name], name)
    if name == "node":
        return "@node(**settings)", _paragraph(function_nodes.node)
    if name in _ALIASES:
        definition, text = _ALIASES[name]
        return f"{name} = {definition}", text
    if isinstance(value, int):
        return f"{name} = {value:,}", _text_after(inspect.getsource(json_values), name)
    if name in ("In", "Out", "Pieces", "Whole"):
        return f"{name}[T]", _text_after(inspect.getsource(ports), name)
    if isinstance(value, type) and issubclass(value, Enum):
        return f"{name}: {', '.join(member.name for member in value)}", _paragraph(value)
    if value in _MADE_BY_OTHERS or value in (lanemesh.Outputs, lanemesh.Node):
        return name, _paragraph(value)
    return f"{name}({_parameters(value)})", _paragraph(value)


def _parameters(value: Any) -> str:
    parameters = list(inspect.signature(value).parameters.values())
    shown = [_parameter(parameter) for parameter in parameters]
    keyword_only = [index for index, parameter in enumerate(parameters) if parameter.kind is parameter.KEYWORD_ONLY]
    if keyword_only:
        shown.insert(keyword_only[0], "*")
    return ", ".join(shown)


def _parameter(parameter: inspect.Parameter) -> str:
    kind = parameter.kind
    stars = "*" if kind is parameter.VAR_POSITIONAL else "**" if kind is parameter.VAR_KEYWORD else ""
    default = "" if parameter.default is parameter.empty else f" = {_default(parameter.default)}"
    return f"{stars}{parameter.name}: {parameter.annotation}{default}"


def _default(value: Any) -> str:
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if repr(value) == "<factory>":
        return "{}"
    return f"{type(value).__name__}()" if is_dataclass(value) else repr(value)


def _paragraph(value: Any) -> str:
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())


def _text_after(source: str, name: str) -> str:
    """The text right after the assignment of a name."""
    match = re.search(rf'^{name} = [^\n]*\n"""(.+?)"""', source, re.MULTILINE | re.DOTALL)
    return " ".join(match[1].split()) if match else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
