"""Loads the code of a guest: a function or a class of a Python file or of an importable module."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from lanemesh import Fault
from lanemesh.extend import Reloadable, UserCode, UserCodeFailed
from pydantic import BaseModel, Field

from lanemesh_services.guests.errors import bad_agent_file


class CodeConfig(BaseModel):
    """Where the code of a guest is. Either `file` or `module` is set."""

    file: str = Field(
        "",
        description="Path of a Python file, relative to the pipeline's file; on a remote mesh, to the node server's working "
        "directory.",
        json_schema_extra={"format": "path"},
    )
    module: str = Field(
        "",
        description="Or the dotted name of an importable module; on a mesh elsewhere, of one that the node server allows.",
        json_schema_extra={"format": "python-module"},
    )
    name: str = Field("", description="The function or class; default: the only public one that the file defines.")


class GuestCode(Reloadable):
    """A function or an instance of a class, with the code that it came from."""

    def __init__(self, call: Callable[..., Any], where: str, code: UserCode) -> None:
        self.call = call
        """The function; of a class, an instance."""
        self.where = where
        """Its file or module and its name, for errors."""
        self._code = code

    def is_current(self) -> bool:
        """Whether the file, and its imports from its folder, are unchanged."""
        return self._code.is_current()

    def close(self) -> None:
        """Removes the modules of the file."""
        self._code.close()


def load_code(config: CodeConfig) -> GuestCode:
    """The function of a config, or an instance of its class, which is made without arguments. Executes the code; may block.

    Raises:
        LanemeshError: there is no such file, module or function, or its code raised an error ("bad-agent-file").
    """
    where = config.file or config.module
    if bool(config.file) == bool(config.module):
        why = "both file and module are set" if where else "neither file nor module is set"
        raise bad_agent_file("its config", why, 'Give one, such as {"file": "my_agent.py"}.')
    try:
        code = UserCode.of_file(_path(config.file)) if config.file else UserCode.of_module(config.module)
    except UserCodeFailed as error:
        raise bad_agent_file(
            where, f"it cannot be imported: {error}", "Run it with Python to see the error."
        ) from error
    try:
        name, found = _chosen(vars(code.module), code.module.__name__, config.name, where)
        try:
            call = cast("Callable[..., Any]", found() if inspect.isclass(found) else found)
        except BaseException as error:  # in a worker thread, where no cancellation and no Ctrl-C arrives
            why = f"{name}() raised {Fault.from_exception(error).message}"
            raise bad_agent_file(where, why, "A class is made without arguments.") from error
        return GuestCode(call, f"{where}: {name}", code)
    except BaseException:
        code.close()
        raise


def _path(file: str) -> Path:
    try:
        path = Path(file).expanduser().absolute()
    except RuntimeError:
        raise bad_agent_file(file, "there is no such home folder", "Give a path without ~, or set HOME.") from None
    if not path.is_file() or path.suffix != ".py":
        why = f"{path} is not a Python file" if path.exists() else f"there is no file {path}"
        raise bad_agent_file(
            file, why, "Correct config.file; a relative path counts from the folder of the pipeline's file."
        )
    return path


def _chosen(names: dict[str, Any], module: str, name: str, where: str) -> tuple[str, Callable[..., Any]]:
    """The named function or class; without a name, the only public one that the module defines."""
    own = {
        key: value
        for key, value in names.items()
        if not key.startswith("_") and callable(value) and getattr(value, "__module__", "") == module
    }
    if name:
        if not callable(found := names.get(name)):
            raise bad_agent_file(where, f'it has no function or class "{name}"', _known(own))
        return name, found
    if len(own) != 1:
        what = (
            "it defines no public function or class" if not own else "it defines several public functions and classes"
        )
        hint = "Define `async def agent(question, context)`." if not own else f"Name one in config.name. {_known(own)}"
        raise bad_agent_file(where, what, hint)
    return next(iter(own.items()))


def _known(own: dict[str, Any]) -> str:
    return f"It has: {', '.join(own) or 'none'}."
