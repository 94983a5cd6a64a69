"""Docstrings in Google, NumPy and reST style: the description of a function, and those of its parameters."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field

_TYPES = {
    "str": "string",
    "string": "string",
    "int": "integer",
    "integer": "integer",
    "float": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "list": "array",
    "dict": "object",
}
"""JSON types by the names of types that docstrings use."""


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring."""

    description: str = ""
    """What it says of the function, without its sections."""
    parameters: dict[str, str] = field(default_factory=dict)
    """The description of each parameter that it describes."""
    types: dict[str, str] = field(default_factory=dict)
    """The JSON type of each parameter whose type it names."""


def read_docstring(text: str) -> Docstring:
    """Reads a docstring. One without sections is the description as it is."""
    from docstring_parser import ParseError, parse

    text = inspect.cleandoc(text)
    try:
        parsed = parse(text)
    except ParseError:
        return Docstring(text)
    if not parsed.meta:
        return Docstring(text)
    description = (parsed.description or "").strip()
    if parsed.returns is not None and parsed.returns.description:
        description = f"{description}\n\nReturns: {parsed.returns.description}".strip()
    described = {item.arg_name.lstrip("*"): item for item in parsed.params}
    return Docstring(
        description,
        {name: item.description.strip() for name, item in described.items() if item.description},
        {name: _TYPES[item.type_name] for name, item in described.items() if item.type_name in _TYPES},
    )
