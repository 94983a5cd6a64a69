"""A function of a Python file as a node."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NewType, get_origin

from lanemesh import Context, In, Node, Out, Whole
from lanemesh.extend import Reloadable, UserCode, UserCodeFailed, call_function, in_thread, innermost
from pydantic import BaseModel, Field

from lanemesh_services.flow.errors import bad_setting


class Python(Node):
    """Calls a function of a Python file with each item. What it returns or yields is sent; nothing for None.

    The function takes the value of the item, and the context of the node if it has a parameter `context`. Plain functions run in
    worker threads, `async` ones on the event loop.
    """

    aliases = ("python_function",)

    class Config(BaseModel):
        """Settings of the function. Either `file` or `module` is set."""

        file: str = Field(
            "",
            json_schema_extra={"format": "path"},
            description="Path of a Python file, relative to the pipeline's file; on a remote mesh, to the node server's working "
            "directory.",
        )
        module: str = Field(
            "",
            json_schema_extra={"format": "python-module"},
            description="Or the dotted name of an importable module; on a mesh elsewhere, of one that the node server allows.",
        )
        function: str = Field("", description="The function; default: the only public one that the file defines.")

    item: Annotated[In[Whole[Any]], "What the function gets."]
    result: Annotated[Out[Any], "What it returns or yields."]

    @classmethod
    async def load(cls, config: Any) -> UserFunction:
        """Loads the file in a worker thread. It is loaded again for the next run if it, or an import from its folder, has changed.
        Raises LanemeshError if there is no such function."""
        return await in_thread(load_function, config.file, config.module, config.function)

    @classmethod
    async def unload(cls, resource: UserFunction) -> None:
        """Removes the modules of the file."""
        resource.close()

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """What the function returns or yields."""
        function: UserFunction = self.resource
        named = {"context": context} if function.takes_context else {}
        async for value in call_function(function.call, self.item, **named):
            if value is not None:
                yield "result", value


class UserFunction(Reloadable):
    """A function of a user's file."""

    def __init__(self, call: Callable[..., Any], code: UserCode) -> None:
        self.call = call
        """The function."""
        self.takes_context = "context" in _parameters(call)
        """It has a parameter `context`."""
        self._code = code

    def is_current(self) -> bool:
        """Whether the file, and its imports from its folder, are unchanged."""
        return self._code.is_current()

    def close(self) -> None:
        """Removes the modules of the file."""
        self._code.close()


def load_function(file: str, module: str, name: str) -> UserFunction:
    """The function of a file or of an importable module. Runs the file's code; may block.

    Raises:
        LanemeshError: "bad-flow-setting": there is no such file, module or function, or the code raised an error.
    """
    if bool(file) == bool(module):
        why = "is set together with config.module" if file else "is not set, and neither is config.module"
        raise bad_setting("python", "file", why, 'Set one of them, such as {"file": "clean.py"}.')
    where, setting = file or module, "file" if file else "module"
    try:
        code = UserCode.of_file(_path(file)) if file else UserCode.of_module(module)
    except UserCodeFailed as error:
        hint = "Run it with Python to see the error."
        raise bad_setting("python", setting, f"cannot be imported: {where}: {error}", hint) from error
    try:
        return UserFunction(_chosen(code, name, where), code)
    except BaseException:
        code.close()
        raise


def _path(file: str) -> Path:
    try:
        path = Path(file).expanduser().absolute()
        is_file = path.is_file() and path.suffix == ".py"
    except (RuntimeError, ValueError, OSError):
        is_file = False
    if not is_file:
        hint = "A relative path counts from the folder of the pipeline's file, or from the node server's working directory."
        raise bad_setting("python", "file", f"is not a Python file: {file:.200}", hint)
    return path


def _chosen(code: UserCode, name: str, where: str) -> Callable[..., Any]:
    """The function with a name, or the only public one."""
    own: dict[str, Callable[..., Any]] = {
        key: value
        for key, value in vars(code.module).items()
        if not key.startswith("_") and _is_own(value, code.module.__name__)
    }
    known = ", ".join(own) or "none"
    if not name:
        if len(own) == 1:
            return next(iter(own.values()))
        why = f"is not set, and {where} has {len(own)} public functions"
        raise bad_setting("python", "function", why, f"Set it to one of them: {known}.")
    found: Callable[..., Any] | None = getattr(code.module, name, None)
    if not callable(found) or inspect.isclass(found):
        raise bad_setting(
            "python", "function", f'is "{name:.100}", which {where} does not have', f"Functions: {known}."
        )
    if not _parameters(found):
        raise bad_setting("python", "function", f'is "{name}", which takes no argument', "It gets the item.")
    return found


def _is_own(value: Any, module: str) -> bool:
    """It is a function of the module, decorated or not, an object of a class of it that can be called, or a partial application."""
    if not callable(value) or inspect.isclass(value) or isinstance(value, NewType) or get_origin(value) is not None:
        return False
    return isinstance(value, partial) or getattr(value, "__module__", None) == module


def _parameters(call: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(call).parameters)
    except (TypeError, ValueError):  # a function written in C has no signature
        return ("item",) if innermost(call) else ()
