"""Finds the functions that a Python file or module offers as tools."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lanemesh import LanemeshError
from lanemesh.extend import Reloadable, ToolFunction, UserCode, UserCodeFailed, options_of

from lanemesh_services.tools.errors import bad_file

log = logging.getLogger("lanemesh.tools")


class Functions(dict[str, ToolFunction], Reloadable):
    """Functions by name, with the code that they came from."""

    def __init__(self, functions: dict[str, ToolFunction], code: UserCode) -> None:
        super().__init__(functions)
        self._code = code

    def is_current(self) -> bool:
        """Whether the file, and its imports from its folder, are unchanged."""
        return self._code.is_current()

    def close(self) -> None:
        """Removes the modules of the file."""
        self._code.close()


def load_functions(file: str, module: str, names: Sequence[str]) -> Functions:
    """The tools of a file or of an importable module, by name. Runs the file's code; may block.

    Args:
        file: path of a Python file, relative to the working directory; or empty.
        module: dotted name of a module; or empty.
        names: the requested functions; none: those that are marked with `@tool`, or if there are none, every public function that
            the file itself defines.

    Raises:
        LanemeshError: "bad-tool-file" or "bad-tool-function".
    """
    if bool(file) == bool(module):
        why = "both file and module are set" if file else "neither file nor module is set"
        raise bad_file("its config", why, 'Give one, such as {"file": "my_tools.py"}.')
    where = file or module
    try:
        code = UserCode.of_file(_path(file)) if file else UserCode.of_module(module)
    except UserCodeFailed as error:
        raise bad_file(where, f"it cannot be imported: {error}", "Run it with Python to see the error.") from error
    try:
        functions: dict[str, ToolFunction] = {}
        for name, call in _chosen(code.module, names, where).items():
            function = ToolFunction(call, where, name)
            if function.name in functions:
                hint = "Give one of them another name, with @tool(name=...)."
                raise bad_file(where, f'two of its functions are the tool "{function.name}"', hint)
            functions[function.name] = function
    except BaseException:
        code.close()
        raise
    return Functions(functions, code)


def _path(file: str) -> Path:
    """The absolute path of a file of tools. Raises LanemeshError if there is none, or it is not a Python file."""
    path = Path(file)
    try:
        whole = path.expanduser().absolute()
    except RuntimeError:
        raise bad_file(str(path), "there is no such home folder", "Give a path without ~, or set HOME.") from None
    if whole.is_dir():
        raise bad_file(str(path), f"{whole} is a folder", "Name a Python file in it.")
    if not whole.is_file():
        why = f"there is no file {whole}"
        raise bad_file(
            str(path),
            why,
            "Correct config.file; a relative path counts from the folder of the pipeline's file. Where the pipeline has no file, "
            "or runs on a mesh elsewhere, it counts from the node server's working directory.",
        )
    if whole.suffix != ".py":
        raise bad_file(str(path), "it is not a Python file", 'Give a file whose name ends in ".py".')
    return whole


def public_functions(module: ModuleType, where: str) -> dict[str, Callable[..., Any]]:
    """The functions that a module offers by default: those that it marks with `@tool`; if it marks none, its own public functions,
    decorated or not, partial applications, and objects and methods of its own classes. A warning is logged for each of the latter
    three that models cannot call."""
    marked = {name: value for name, value in vars(module).items() if _is_marked(value, module)}
    if marked:
        return marked
    public: dict[str, Callable[..., Any]] = {}
    for name, value in vars(module).items():
        if name.startswith("_") or not callable(value) or inspect.isclass(value):
            continue
        is_partial = isinstance(value, functools.partial)
        home = type(value).__module__ if is_partial or not hasattr(value, "__module__") else value.__module__
        if not is_partial and home != module.__name__:
            continue
        if not inspect.isfunction(value) and not hasattr(value, "__wrapped__"):
            try:
                ToolFunction(value, where, name)
            except LanemeshError as error:
                log.warning("%s is callable, but is not offered as a tool: %s", name, error)
                continue
        public[name] = value
    return public


def _is_marked(value: Any, module: ModuleType) -> bool:
    """It is a function of the module itself below `@tool`."""
    if not callable(value) or inspect.isclass(value) or options_of(value) is None:
        return False
    home: str | None = getattr(value, "__module__", None)
    return home in (module.__name__, "functools", None)


def _chosen(module: ModuleType, names: Sequence[str], where: str) -> dict[str, Callable[..., Any]]:
    public = public_functions(module, where)
    if not names:
        if not public:
            raise bad_file(where, "it defines no public functions", "Define one, with type hints and a docstring.")
        return public
    chosen: dict[str, Callable[..., Any]] = {}
    for name in names:
        value = getattr(module, name, None)
        if not callable(value) or inspect.isclass(value):
            known = ", ".join(public) or "none"
            raise bad_file(where, f'it has no function "{name}"', f"Its functions: {known}. Correct config.functions.")
        chosen[name] = value
    return chosen
