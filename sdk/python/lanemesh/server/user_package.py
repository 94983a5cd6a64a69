"""The modules of one folder with Python files of users, as a private package.

An import in such a file, or in a module beside it, finds the modules of the folder. Modules of the standard library and installed
modules keep precedence. The source is always read: no byte code is written beside it or taken from there, so an edit within the
same second is seen as well.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import importlib
import importlib.util
import itertools
import keyword
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

MAX_LISTED = 4096
"""Entries of a folder that are looked at to find a module that was missing."""


Stamp = tuple[int, int, int] | None
"""Changes when a file is edited: time of modification in nanoseconds, size in bytes, inode. None: there is no file."""


class UserPackage:
    """The modules of one folder, as they were when the first file of it was loaded."""

    def __init__(self, folder: Path, name: str) -> None:
        """`folder` has the loaded files. If it is a package itself, its parents are found as well."""
        self.folder = folder
        self.name = name
        self.stamps: dict[str, Stamp] = {}
        """The source files that were read, with their stamps at that time."""
        root = folder
        parts: list[str] = []
        while (root / "__init__.py").is_file() and root.name.isidentifier() and root.parent != root:
            parts.insert(0, root.name)
            root = root.parent
        self.root = str(root)
        self.lock = threading.RLock()
        """Held while a file is loaded."""
        self.files = 0
        """Files that were loaded, or are being loaded."""
        self._home = ".".join((name, *parts))
        """The package of the loaded files."""
        self._module = ModuleType(name, f"The modules of {folder}.")
        self._module.__path__ = [self.root]
        self.builtins = {**vars(builtins), "__import__": self._import}

    def register(self) -> None:
        """Makes the package importable by its name."""
        sys.modules.setdefault(self.name, self._module)

    def module_name(self, file: Path) -> str:
        """The module name of a file in the folder. A name that cannot be used in an import statement is replaced."""
        if file.name == "__init__.py" and self._home != self.name:
            return self._home
        stem = file.stem
        if file.suffix != ".py" or not stem.isidentifier() or keyword.iskeyword(stem) or stem == "__init__":
            stem = f"{re.sub(r'[^a-zA-Z0-9_]', '_', stem)}_{digest(file.name)}"
        return f"{self._home}.{stem}"

    def load(self, file: Path) -> ModuleType:
        """The module of a file in the folder. Raises the errors of the file."""
        with self.lock:
            return self._load(file)

    def _load(self, file: Path) -> ModuleType:
        self.register()
        name = self.module_name(file)
        if name in sys.modules:
            return sys.modules[name]
        parent = name.rpartition(".")[0]
        importlib.import_module(parent)
        if name in sys.modules:  # imported by its package
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, file, loader=_Source(name, str(file), self))
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            assert spec.loader is not None
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules.pop(name, None)
            raise
        module = sys.modules.get(name, module)
        setattr(sys.modules[parent], name.rpartition(".")[2], module)
        return module

    def find(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """The spec of a module of this package. The folder is listed again in each call."""
        for entry in path or ():
            finder = FileFinder(entry, (ExtensionFileLoader, EXTENSION_SUFFIXES), (self._source, [".py"]))  # type: ignore[arg-type]
            if (spec := finder.find_spec(name)) is not None:
                return spec
        return None

    def is_current(self) -> bool:
        """Whether every source file that was read is unchanged."""
        return all(stamp_of(path) == stamp for path, stamp in list(self.stamps.items()))

    def remove(self) -> None:
        """Removes the modules from `sys.modules`. Existing references to them stay valid."""
        for name in [name for name in list(sys.modules) if name == self.name or name.startswith(f"{self.name}.")]:
            sys.modules.pop(name, None)

    def listing(self) -> dict[str, Stamp]:
        """The stamps of what can be imported from the folder: modules and folders, also those that were not read."""
        return {path: stamp for folder in {self.root, str(self.folder)} for path, stamp in _listing(folder)}

    def _source(self, name: str, path: str) -> _Source:
        return _Source(name, path, self)

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` of the modules of this package: finds the modules of the folder too."""
        self.register()
        top = name.partition(".")[0]
        inside = self._beside(top) if level == 0 else None
        if inside is None:
            return builtins.__import__(name, globals, locals, fromlist, level)
        whole = inside + name[len(top) :]
        if fromlist:
            return builtins.__import__(whole, globals, locals, fromlist, 0)
        try:
            importlib.import_module(whole)
        except ModuleNotFoundError as error:
            if error.name and error.name.startswith(f"{self.name}."):
                missing = error.name.removeprefix(inside.rpartition(".")[0] + ".")
                raise ModuleNotFoundError(f"No module named {missing!r}", name=missing) from None
            raise
        return sys.modules[inside]

    def _beside(self, top: str) -> str | None:
        """The name of a module of the folder in this package; None: there is no such module, or another one takes precedence."""
        if top in sys.builtin_module_names or top in sys.stdlib_module_names:
            return None
        homes = dict.fromkeys((self._home, self.name))
        known = next((f"{home}.{top}" for home in homes if f"{home}.{top}" in sys.modules), None)
        if known is not None:
            return known
        for home in homes:
            package = sys.modules.get(home)
            spec = self.find(f"{home}.{top}", getattr(package, "__path__", None))
            if spec is not None:
                return None if _is_installed(top, spec) else spec.name
        return None


class _Source(SourceFileLoader):
    """Compiles the source, records the file, and executes it with the package's `__import__`."""

    def __init__(self, name: str, path: str, package: UserPackage) -> None:
        super().__init__(name, path)
        self._package = package

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        self._package.stamps[path] = stamp_of(path)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._package.builtins
        super().exec_module(module)


def stamp_of(path: str) -> Stamp:
    """The stamp of a file as it is now."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _listing(folder: str) -> Iterator[tuple[str, Stamp]]:
    """The modules of a folder, and the folders in it, with their stamps."""
    endings = (".py", *EXTENSION_SUFFIXES)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in itertools.islice(entries, MAX_LISTED):
            if entry.name.endswith(endings) or (
                entry.name.isidentifier() and entry.name != "__pycache__" and entry.is_dir()
            ):
                yield entry.path, stamp_of(entry.path)


def _is_installed(top: str, beside: ModuleSpec) -> bool:
    """Whether another module takes precedence over one of the same name in the folder: an installed one does, and one that the
    program itself imports from the same place. Another one in the program's own folder does not."""
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return top in sys.modules
    if found is None or found.origin is None:
        return False
    if beside.origin is not None and os.path.realpath(found.origin) == os.path.realpath(beside.origin):
        return True
    place = Path(found.origin).resolve().parent
    if found.submodule_search_locations is not None:
        place = place.parent
    own = {Path(entry or ".").resolve() for entry in ("", sys.path[0] if sys.path else "")}
    return place not in own


def digest(text: str) -> str:
    """A short name of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
