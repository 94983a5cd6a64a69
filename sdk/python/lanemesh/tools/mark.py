"""The decorator `@tool`, which marks a function or a method as a tool for models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from lanemesh.faults import Code, Fault, NodeDefinitionError
from lanemesh.node.callables import innermost
from lanemesh.rendering import rendered

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__lanemesh_tool__"


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """What `@tool` was given."""

    name: str = ""
    """Name for models; empty: the function's own."""
    description: str = ""
    """Description for models; empty: that of the docstring."""
    timeout: float | None = None
    """Most seconds for a call; None: the limit of the connection."""


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(*, name: str = "", description: str = "", timeout: float | None = None) -> Callable[[F], F]: ...
def tool(
    function: F | None = None, /, *, name: str = "", description: str = "", timeout: float | None = None
) -> F | Callable[[F], F]:
    """Marks a function as a tool for models. It remains the function that it is.

    The function may be plain (it runs in a worker thread) or `async`, and may be a generator, whose yields are its progress. A
    parameter with the type `ToolContext` gets the context of the call, and is hidden from models.

    Args:
        function: the function, where the decorator has no arguments.
        name: its name for models: letters, digits, "_" and "-", at most 64; default: the function's own.
        description: its description for models; default: that of its docstring.
        timeout: most seconds for a call; default: the limit of the caller.

    Raises:
        NodeDefinitionError: it is not a function, or `timeout` is not above 0.
    """
    if timeout is not None and not timeout > 0:
        raise _refused(f"timeout is {timeout}", "give seconds above 0")
    options = ToolOptions(name, description, timeout)

    def mark(marked: F) -> F:
        if not callable(getattr(marked, "__func__", marked)):  # a static method or a class method has its function
            raise _refused(f"{rendered(marked)} is not a function", "write @tool above `def`, or @tool(name=...)")
        target: Any = getattr(marked, "__func__", marked)
        target = target if hasattr(target, "__dict__") else innermost(target)
        try:
            setattr(target, _MARK, options)
        except (AttributeError, TypeError):
            raise _refused(f"{rendered(marked)} cannot be marked", "wrap it in a function") from None
        return marked

    return mark if function is None else mark(function)


def options_of(function: object) -> ToolOptions | None:
    """What `@tool` was given for a function, also below other decorators; None if it is not marked."""
    options = getattr(function, _MARK, None)
    if options is None and (callable(function) or hasattr(function, "__func__")):
        options = getattr(innermost(function), _MARK, None)
    return options if isinstance(options, ToolOptions) else None


def _refused(what: str, hint: str) -> NodeDefinitionError:
    message = f"@tool: {what}; {hint}."
    return NodeDefinitionError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-tool-function", message=message))
