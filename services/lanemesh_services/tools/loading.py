"""Finds the functions that a Python file or module offers as tools."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lanemesh.faults import user_frames

from lanemesh_services.tools.errors import bad_file
from lanemesh_services.tools.functions import Function


def load_functions(file: str, module: str, names: Sequence[str]) -> dict[str, Function]:
    """The tools of a file or of an importable module, by name. Runs the file's code; may block.

    Args:
        file: path of a Python file, relative to the working directory; or empty.
        module: dotted name of a module; or empty.
        names: the functions wanted; none: every public function that the file itself defines.

    Raises:
        LanemeshError: "bad-tool-file" or "bad-tool-function".
    """
    if bool(file) == bool(module):
        why = "both file and module are set" if file else "neither file nor module is set"
        raise bad_file("its config", why, 'Give one, such as {"file": "my_tools.py"}.')
    loaded = _from_file(Path(file)) if file else _import(module)
    where = file or module
    return {name: Function(call, where) for name, call in _chosen(loaded, names, where).items()}


def _from_file(path: Path) -> ModuleType:
    try:
        whole = path.expanduser().absolute()
    except RuntimeError:
        raise bad_file(str(path), "there is no such home folder", "Give a path without ~, or set HOME.") from None
    if not whole.is_file():
        why = f"there is no file {whole}"
        raise bad_file(
            str(path),
            why,
            "Correct config.file; a relative path counts from the pipeline's file, or on a mesh elsewhere from the node server's "
            "working directory.",
        )
    name = f"lanemesh_tools_{whole.stem}_{hashlib.sha256(str(whole).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, whole)
    if spec is None or spec.loader is None:
        raise bad_file(str(path), "it is no Python file", 'Give a file whose name ends in ".py".')
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks there for the names in type hints
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _fails(str(path), error) from error
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise _fails(name, error) from error


def _fails(where: str, error: Exception) -> Exception:
    ours = ("importlib", "lanemesh_services/tools")
    lines = [
        line
        for line in user_frames(error).splitlines()
        if line.startswith("  File") and not any(o in line for o in ours)
    ]
    place = f" ({lines[-1].strip()})" if lines else ""
    return bad_file(
        where, f"it fails when it is loaded: {type(error).__name__}: {error}{place}", "Run it with Python to see."
    )


def _chosen(module: ModuleType, names: Sequence[str], where: str) -> dict[str, Callable[..., Any]]:
    public: dict[str, Callable[..., Any]] = {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    if not names:
        if not public:
            raise bad_file(where, "it defines no public functions", "Define one, with type hints and a docstring.")
        return public
    chosen: dict[str, Callable[..., Any]] = {}
    for name in names:
        value = getattr(module, name, None)
        if not inspect.isfunction(value):
            known = ", ".join(public) or "none"
            raise bad_file(where, f'it has no function "{name}"', f"Its functions: {known}. Correct config.functions.")
        chosen[name] = value
    return chosen
