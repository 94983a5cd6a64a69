"""Python code of users that a node type executes: a file, or an importable module."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from lanemesh._aio.user_errors import failure_of
from lanemesh.faults import Fault, user_frames
from lanemesh.node.runtime.resources import Reloadable
from lanemesh.server.user_modules import USER_MODULES
from lanemesh.server.user_package import UserPackage

T = TypeVar("T")


class UserCodeFailed(ImportError):
    """User code raised an error during loading. The text has the error, and the line of the user's code that raised it."""


class UserCode(Reloadable):
    """A module of a user's code. As a resource of a node it is loaded again for the next run when its files have changed.

    The code of a file is loaded separately: its global variables, and those of the modules beside it, are not shared.
    """

    def __init__(self, module: ModuleType, package: UserPackage | None = None) -> None:
        """`package` has the modules of a file; None: the module was imported by its name. `of_file` and `of_module` load code."""
        self.module = module
        """The module."""
        self._package = package

    @classmethod
    def of_file(cls, path: Path) -> UserCode:
        """Loads a Python file. It executes the file's code, and may block. Call `close` at the end.

        Raises:
            UserCodeFailed: the code raised an error.
        """
        return cls(*_loaded(lambda: USER_MODULES.load_apart(path)))

    @classmethod
    def of_module(cls, name: str) -> UserCode:
        """Imports a module by its dotted name. It may block.

        Raises:
            UserCodeFailed: there is no such module, or its code raised an error.
        """
        return cls(_loaded(lambda: importlib.import_module(name)))

    def is_current(self) -> bool:
        """Whether the file, and the modules that it imported from its folder, are unchanged. Always true for a module."""
        return self._package is None or self._package.is_current()

    def close(self) -> None:
        """Discards the modules of a file. Existing references to them stay valid."""
        if self._package is not None:
            USER_MODULES.discard(self._package)


def _loaded(load: Callable[[], T]) -> T:
    try:
        return load()
    except BaseException as error:
        failure = failure_of(error)
        lines = [line for line in user_frames(failure).splitlines() if line.startswith("  File")]
        own = [line.strip() for line in lines if "importlib" not in line]
        place = f" ({own[-1]})" if own else ""
        raise UserCodeFailed(f"{Fault.from_exception(failure).message}{place}") from error
