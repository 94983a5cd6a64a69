"""Loads Python files of users: files of node types and files of tools.

A file is loaded as a module of a private package, one for each folder. An import in it, or in a module beside it, finds the modules
of that folder, so two folders may each have a `helpers.py`. Modules of the standard library and installed modules keep precedence.
The source is always read: no byte code is written beside it or taken from there, so an edit within the same second is seen as well.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.util
import itertools
import keyword
import os
import re
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

PREFIX = "lanemesh_files_"
"""Prefix of the names of the private packages."""
MAX_FOLDERS = 64
"""Folders whose newest code is kept to be shared by later loads."""
MAX_SUPERSEDED = 16
"""Packages of replaced code whose modules stay in `sys.modules`; those of older ones are removed there."""
MAX_FAILED = 64
"""Files that could not be loaded whose error is kept; those that failed first are forgotten, and run again when they are loaded."""
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
            stem = f"{re.sub(r'[^a-zA-Z0-9_]', '_', stem)}_{_digest(file.name)}"
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


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the private packages, also for pickles and `importlib.import_module`."""

    def __init__(self) -> None:
        self.packages: dict[str, UserPackage] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        package = self.packages.get(fullname.partition(".")[0])
        return package.find(fullname, path) if package is not None and path is not None else None


@dataclass(frozen=True, slots=True)
class _Failure:
    """A load that failed."""

    package: UserPackage
    error: BaseException
    traceback: TracebackType | None
    listing: dict[str, Stamp]
    """The listing of the folder before the load: a module that was missing may be there later."""
    missing: str
    """An installed module that was missing; empty if that is not the cause."""

    def is_current(self) -> bool:
        """Whether the same load would read the same files."""
        if self.missing and _is_importable(self.missing):
            return False
        return self.package.is_current() and self.package.listing() == self.listing


class UserModules:
    """Loads files. The modules of a folder are shared by the files of it until one of them changes."""

    def __init__(self) -> None:
        self._finder = _Finder()
        self._newest: OrderedDict[Path, UserPackage] = OrderedDict()
        self._superseded: deque[UserPackage] = deque()
        self._failed: OrderedDict[Path, _Failure] = OrderedDict()
        """By file, why it could not be loaded, until it can be."""
        self._loads = 0
        self._lock = threading.RLock()

    def load(self, path: Path) -> tuple[ModuleType, UserPackage]:
        """The module of a file, with the code that it and the modules beside it have now. Raises what the file raises; a file that
        failed is not run again until it, or a module of its folder, has changed."""
        file = path.expanduser().resolve()
        with self._lock:
            failure = self._failed.get(file)
            if failure is not None and failure.is_current():
                raise failure.error.with_traceback(failure.traceback)
            package = self._package(file.parent)
            package.files += 1
        listing = package.listing()
        try:
            module = package.load(file)
        except BaseException as error:
            with self._lock:
                package.files -= 1
                self._drop_failed(package)
                if isinstance(
                    error, (Exception, SystemExit)
                ):  # others, such as KeyboardInterrupt, are not due to the file
                    self._keep_failure(file, _Failure(package, error, error.__traceback__, listing, _missing(error)))
            raise
        with self._lock:
            self._failed.pop(file, None)
        return module, package

    def _package(self, folder: Path) -> UserPackage:
        """The newest code of a folder."""
        package = self._newest.get(folder)
        if package is not None and not package.is_current():
            self._drop(self._newest.pop(folder))
            package = None
        if package is None:
            package = self._newest[folder] = self._add(UserPackage(folder, self._name(folder)))
        self._newest.move_to_end(folder)
        while len(self._newest) > MAX_FOLDERS:
            self._drop(self._newest.popitem(last=False)[1])
        return package

    def _drop_failed(self, package: UserPackage) -> None:
        """Does not use a package in which a load failed again: what it imported may be what has to be corrected."""
        if self._newest.get(package.folder) is package:
            del self._newest[package.folder]
            if package.files:
                self._superseded.appendleft(package)  # removed before code that was good as a whole
                self._bound_superseded()
        if not package.files and package not in self._superseded:
            self._forget(package)

    def _keep_failure(self, file: Path, failure: _Failure) -> None:
        self._failed[file] = failure
        self._failed.move_to_end(file)
        while len(self._failed) > MAX_FAILED:
            self._failed.popitem(last=False)

    def has_changed(self, path: Path) -> bool:
        """Whether a file, or a module beside it that was read, has changed since `load` last loaded it, or could not. In that case
        a new or changed module of the folder counts too."""
        failure, package = self._last_of(path)
        if failure is not None:
            return not failure.is_current()
        return package is None or not package.is_current()

    def stamps(self, path: Path) -> dict[str, Stamp]:
        """The stamps, as they are now, of a file and the modules beside it that were read; of all modules of the folder too if the
        file could not be loaded. Another thread may load them meanwhile."""
        failure, package = self._last_of(path)
        read = list(package.stamps) if package is not None else [str(path)]
        listing = failure.package.listing() if failure is not None else {}
        return {**listing, **{file: stamp_of(file) for file in read}}

    def _last_of(self, path: Path) -> tuple[_Failure | None, UserPackage | None]:
        """Why a file could not be loaded when that was last tried, if it could not, and the code that was read."""
        file = path.expanduser().resolve()
        failure = self._failed.get(file)
        return failure, failure.package if failure is not None else self._newest.get(file.parent)

    def load_apart(self, path: Path) -> tuple[ModuleType, UserPackage]:
        """The module of a file, executed again together with the modules beside it, so that its global variables are not shared.
        `discard` it at the end. Raises the errors of the file."""
        file = path.expanduser().resolve()
        with self._lock:
            package = self._add(UserPackage(file.parent, self._name(file.parent)))
        try:
            return package.load(file), package
        except BaseException:
            self.discard(package)
            raise

    def load_as(self, name: str, file: Path) -> ModuleType:
        """The module of a file under the name that it has in another process. Raises the errors of the file."""
        with self._lock:
            package = self._add(UserPackage(file.parent, name.partition(".")[0]))
        return package.load(file)

    def discard(self, package: UserPackage) -> None:
        """Discards a package of `load_apart`."""
        with self._lock:
            self._forget(package)

    def _add(self, package: UserPackage) -> UserPackage:
        if self._finder not in sys.meta_path:
            sys.meta_path.insert(0, self._finder)
        self._finder.packages[package.name] = package
        return package

    def _drop(self, package: UserPackage) -> None:
        self._superseded.append(package)
        self._bound_superseded()

    def _bound_superseded(self) -> None:
        while len(self._superseded) > MAX_SUPERSEDED:
            self._forget(self._superseded.popleft())

    def _forget(self, package: UserPackage) -> None:
        self._finder.packages.pop(package.name, None)
        package.remove()

    def _name(self, folder: Path) -> str:
        self._loads += 1
        return f"{PREFIX}{_digest(str(folder))}_{self._loads}"


USER_MODULES = UserModules()
"""The instance of this process."""


def stamp_of(path: str) -> Stamp:
    """The stamp of a file as it is now."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _missing(error: BaseException) -> str:
    """The module whose installation may correct an error; empty if there is none."""
    name = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    return "" if "." in name or _is_importable(name) else name


def _is_importable(name: str) -> bool:
    """Whether a module that is in no package can be found. Does not import it."""
    try:
        return bool(name) and importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
