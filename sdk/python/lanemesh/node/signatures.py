"""The shapes that a node's method may have. A wrong one is told when the class is defined, not in the middle of a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

_WANTED = {
    "process": ("`def process(self, context)` or `async def process(self, context)`", 1),
    "gen_process": (
        '`def gen_process(self, context)` or `async def gen_process(self, context)`, with `yield "port", value`',
        1,
    ),
    "run": ("`async def run(self, context, inputs, outputs)`", 3),
}
"""What each method has to be, and how many arguments it is called with."""


def wrong_signature(cls: type, name: str) -> str:
    """What is wrong with a method called `name`, and what it has to be, as a predicate of the class; empty if it is right."""
    method = getattr(cls, name)
    wanted, arguments = _WANTED[name]
    violation = _wrong_parameters(cls, name, method, arguments) or _wrong_kind(name, inspect.unwrap(method))
    return f"has a `{name}` that {violation}; write {wanted}" if violation else ""


def _wrong_parameters(cls: type, name: str, method: Callable[..., Any], arguments: int) -> str:
    is_bound = isinstance(inspect.getattr_static(cls, name), staticmethod | classmethod)
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # one written in C, which does not say
        return ""
    try:
        signature.bind(*(None,) * (arguments + (not is_bound)))
    except TypeError:
        shown = ", ".join(signature.parameters) or "nothing"
        return f"takes ({shown})"
    return ""


def _wrong_kind(name: str, method: Callable[..., Any]) -> str:
    """`method` is the innermost one: decorators that say what they wrap may make it any callable."""
    yields = inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)
    if name == "gen_process":
        return "" if yields else "yields nothing"
    if yields:
        return "yields" + (", which is for `gen_process`" if name == "process" else "")
    if name == "run" and not inspect.iscoroutinefunction(method):
        return "is a plain function"
    return ""
