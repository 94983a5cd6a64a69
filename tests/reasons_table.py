"""Writes docs/reasons.md from the enums of reasons, and finds the reasons that the code uses.

`python tests/reasons_table.py` writes the page anew; `make reasons` calls it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reasons.md"
PACKAGES = {
    "node servers, nodes and clients": ROOT / "sdk" / "python" / "lanemesh",
    "the orchestrator": ROOT / "orchestrator" / "lanemesh_orchestrator",
    "the services that come along": ROOT / "services" / "lanemesh_services",
}
"""Who reports them, and the folder of the package, whose `reasons.py` has the enum."""

CALLS = frozenset(
    [
        *("Fault", "PipelineFault", "Problem", "_Miss", "_end", "_error", "_fault", "_refuse", "_refused", "_wrong"),
        *("channel_fault", "fault", "lease_error", "refuse", "refused", "store_error"),
    ]
)
"""Functions that take a reason."""
_KEBAB = re.compile(r"[a-z]+(-[a-z]+)+")


@dataclass(frozen=True, slots=True)
class Code:
    """One reason."""

    name: str
    text: str
    """What it means, as one sentence."""


def codes(package: Path) -> list[Code]:
    """The reasons of a package, in the order of its enum."""
    tree = ast.parse((package / "reasons.py").read_text(encoding="utf-8"))
    (enum,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    found: list[Code] = []
    for statement, following in zip(enum.body, [*enum.body[1:], None], strict=True):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            text = str(following.value.value).strip() if documented else ""  # type: ignore[union-attr]
            found.append(Code(str(statement.value.value), text))
    return found


@dataclass(frozen=True, slots=True)
class Uses:
    """What stands in the code of a package."""

    reasons: list[tuple[str, str]]
    """Every reason that it gives to a fault, with its place."""
    texts: set[str]
    """Every text, but for those of its `reasons.py`, and the text of each `Reason.NAME`."""


@cache
def uses(package: Path) -> Uses:
    """What stands in the code of a package."""
    found = Uses([], set())
    for file in sorted(package.rglob("*.py")):
        if "v1" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            found.reasons.extend((reason, f"{file.relative_to(ROOT)}:{line}") for reason, line in _reasons(node))
            if file.name == "reasons.py":
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.texts.add(node.value)
            elif isinstance(node, ast.Attribute) and _is_reason(node):
                found.texts.add(_text_of(node.attr))
    return found


def _reasons(node: ast.AST) -> Iterator[tuple[str, int]]:
    """The reasons that a node of the syntax tree gives, and their lines."""
    for value in _given(node):
        for choice in [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]:
            if isinstance(choice, ast.Constant) and isinstance(choice.value, str):
                yield choice.value, choice.lineno


def _is_reason(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "Reason"


def _text_of(name: str) -> str:
    return name.lower().replace("_", "-")


def _given(node: ast.AST) -> Iterator[ast.expr]:
    """What a node of the syntax tree gives as a reason: an argument, or the value of a variable of this name."""
    if isinstance(node, ast.Assign) and [target.id for target in node.targets if isinstance(target, ast.Name)] == [
        "reason"
    ]:
        choices = [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else [node.value]
        yield from filter(_is_kebab, choices)
    if not isinstance(node, ast.Call) or _name(node.func) not in CALLS:
        return
    yield from (keyword.value for keyword in node.keywords if keyword.arg == "reason")
    yield from filter(_is_kebab, node.args[:3])


def _is_kebab(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str) and bool(_KEBAB.fullmatch(value.value))


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def page() -> str:
    """The page of all reasons."""
    parts = [
        "# Reasons",
        "Every fault has a reason that programs can rely on: `reason` of a `Fault` in updates and results, of "
        "`google.rpc.ErrorInfo` in a failed call (domain `lanemesh`), and of each fault of a document. Nodes may report others of "
        "their own. This page is generated from the enums of reasons by `make reasons`.",
    ]
    for who, package in PACKAGES.items():
        rows = [f"| `{code.name}` | {code.text} |" for code in sorted(codes(package), key=lambda code: code.name)]
        parts += [f"## Of {who}", "\n".join(["| reason | what it means |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
