"""The errors of the tools service. Each message has what, where and what to do next."""

from __future__ import annotations

from lanemesh import Code, Fault, LanemeshError


def bad_file(path: str, why: str, hint: str) -> LanemeshError:
    """A file or module of tools cannot be used."""
    message = f"tool_python cannot use {path}: {why}. {hint}"
    return LanemeshError(
        Fault(code=Code.FAILED_PRECONDITION, reason="bad-tool-file", message=message, details={"file": path})
    )


def library_missing(library: str, provider: str, error: ImportError) -> LanemeshError:
    """A library that a node type needs is not installed, or cannot be imported."""
    name = getattr(error, "name", None) or library
    missing = isinstance(error, ModuleNotFoundError)
    why = f"which needs {name}, not installed here" if missing else f"which cannot be imported ({error})"
    message = f"{provider} uses the Python library {library}, {why}; install it with: pip install 'lanemesh[tools]'"
    return LanemeshError(
        Fault(code=Code.FAILED_PRECONDITION, reason="library-missing", message=message, details={"library": library})
    )


def bad_setting(where: str, setting: str, why: str, hint: str) -> LanemeshError:
    """A setting of a component cannot be used."""
    message = f"{where}: config.{setting} {why}. {hint}"
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-tool-setting", message=message))
