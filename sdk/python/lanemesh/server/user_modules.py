"""Loads Python files of users: files of node types and files of tools.

A file is loaded as a module of a private package, one for each folder, so two folders may each have a `helpers.py`. Code that has
changed is loaded as a further package; the former one stays for what still uses it.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, TracebackType

from lanemesh.server.user_package import Stamp, UserPackage, digest, stamp_of

PREFIX = "lanemesh_files_"
"""Prefix of the names of the private packages."""
MAX_FOLDERS = 64
"""Folders whose newest code is kept to be shared by later loads."""
MAX_SUPERSEDED = 16
"""Packages of replaced code whose modules stay in `sys.modules`; those of older ones are removed there."""
MAX_FAILED = 64
"""Files that could not be loaded whose error is kept; those that failed first are forgotten, and run again when they are loaded."""


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
        file = _resolved(path)
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
        return f"{PREFIX}{digest(str(folder))}_{self._loads}"


USER_MODULES = UserModules()
"""The instance of this process."""


def _resolved(path: Path) -> Path:
    """A path without symbolic links. Each of its folders is looked at only if another file is there than before."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return path.expanduser().resolve()
    return _resolved_to(path, found.st_dev, found.st_ino)


@functools.lru_cache(maxsize=MAX_FOLDERS)
def _resolved_to(path: Path, device: int, inode: int) -> Path:
    return path.expanduser().resolve()


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
