"""Paths into JSON values: JSON pointers (RFC 6901), and the dotted form that models write. Pure."""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(r"\[(?:'([^']*)'|\"([^\"]*)\"|(-?\d+))\]|\.?([^.\[\]]+)")
MAX_PATH = 1_000
"""Longest path, in characters."""


def value_at(value: Any, path: str) -> Any:
    """The value at a path: "/rows/0/name", or "$.rows[0].name". An empty path is the whole value.

    Raises:
        ValueError: the path is too long, or leads nowhere; the error names the keys that there are.
    """
    if len(path) > MAX_PATH:
        raise ValueError(f"a path has at most {MAX_PATH:,} characters")
    for done, step in enumerate(_steps(path)):
        value = _step(value, step, done)
    return value


def _steps(path: str) -> list[str]:
    if path.startswith("/"):
        return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
    dotted = path.removeprefix("$")
    return [next(part for part in found if part) for found in _STEP.findall(dotted) if any(found)]


def _step(value: Any, step: str, done: int) -> Any:
    if isinstance(value, dict):
        if step in value:
            return value[step]
        known = ", ".join(list(value)[:20]) or "none"
        raise ValueError(f'step {done + 1} of the path: there is no key "{step:.100}"; the keys: {known}')
    if isinstance(value, list):
        if re.fullmatch(r"-?\d{1,9}", step) and -len(value) <= int(step) < len(value):
            return value[int(step)]
        raise ValueError(f'step {done + 1} of the path: "{step:.100}" is not a position in a list of {len(value)}')
    raise ValueError(f'step {done + 1} of the path: "{step:.100}" leads into a {type(value).__name__}')
