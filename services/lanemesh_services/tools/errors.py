"""The errors of tools made of functions. Each message has what, where and what to do next."""

from __future__ import annotations

from collections.abc import Iterable

from lanemesh import Code, Fault, LanemeshError


def bad_file(path: str, why: str, hint: str) -> LanemeshError:
    """A file or module of tools cannot be used."""
    message = f"tool_python cannot use {path}: {why}. {hint}"
    return _error(Code.FAILED_PRECONDITION, "bad-tool-file", message, file=path)


def bad_function(path: str, name: str, why: str, hint: str) -> LanemeshError:
    """A function cannot be a tool."""
    message = f"the function {name} in {path} cannot be a tool: {why}. {hint}"
    return _error(Code.FAILED_PRECONDITION, "bad-tool-function", message, file=path, tool=name)


def unknown_tool(name: str, known: Iterable[str]) -> LanemeshError:
    """There is no tool with this name."""
    message = f'there is no tool "{name}" here; the tools: {", ".join(known)}'
    return _error(Code.NOT_FOUND, "unknown-tool", message, tool=name)


def bad_arguments(name: str, problems: Iterable[str]) -> LanemeshError:
    """The arguments of a call are invalid for the function."""
    message = f"the arguments of {name} are invalid: {'; '.join(problems)}"
    return _error(Code.INVALID_ARGUMENT, "bad-arguments", message, tool=name)


def bad_result(name: str, why: str) -> LanemeshError:
    """A function returned a value that cannot be a result."""
    message = f"the tool {name} {why}. Return a JSON value: texts, numbers, lists, dicts, dataclasses, models"
    return _error(Code.INTERNAL, "bad-result", message, tool=name)


def _error(code: Code, reason: str, message: str, **details: str) -> LanemeshError:
    return LanemeshError(Fault(code=code, reason=reason, message=message, details=details))
