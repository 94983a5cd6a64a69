"""Finds node types: installed services by their entry points, and Python files given by path."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from itertools import count, takewhile
from pathlib import Path

from lanemesh._aio.user_errors import failure_of
from lanemesh.faults import Code, Fault, LanemeshError, user_frames
from lanemesh.node.node import Kind, Node, Service

log = logging.getLogger("lanemesh.services")

ENTRY_POINT_GROUP = "lanemesh.services"
"""The entry-point group in which installed packages declare services."""


def service_names() -> list[str]:
    """Names of the installed services, in alphabetical order."""
    return sorted(_entry_points())


def _entry_points() -> Mapping[str, EntryPoint]:
    """The entry points of the installed services, by name.

    To find them, Python reads a file of every installed package. So they are kept until the import path or a folder of it changes,
    as it does when a package is installed or removed.
    """
    return _entry_points_of(tuple((folder, _changed(folder)) for folder in sys.path))


@lru_cache(maxsize=1)
def _entry_points_of(_path: tuple[tuple[str, int], ...]) -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _changed(folder: str) -> int:
    """When the entries of a folder last changed, in nanoseconds; 0: there is no such folder."""
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


class InstalledServices:
    """The installed services. Each is imported when it is first requested, because some are heavy."""

    def __init__(self) -> None:
        self._points = _entry_points()
        self._loaded: dict[str, Service | None] = {}

    def load(self, name: str) -> Service:
        """The service with a name.

        Raises:
            LanemeshError: there is no such service, or it cannot be imported.
        """
        if name not in self._points:
            known = ", ".join(sorted(self._points)) or "none"
            raise _error("unknown-service", Code.NOT_FOUND, f'there is no service "{name}"; installed are {known}')
        try:
            service: Service = self._points[name].load()
        except BaseException as error:
            where = f'the service "{name}" ({self._points[name].value})'
            message = f"{where} cannot be loaded: {Fault.from_exception(failure_of(error)).message}"
            raise _error("bad-service", Code.FAILED_PRECONDITION, message) from error
        return service

    def nearest_first(self, provider: str) -> Iterator[Service]:
        """All importable services. For each other one a warning is logged, once.

        The services whose names share the longest prefix with that of a node type come first, because they probably define it: a
        search imports few. Equally similar ones are in reverse alphabetical order.
        """
        for name in sorted(self._points, key=lambda name: (_alike(name, provider), name), reverse=True):
            if name not in self._loaded:
                self._loaded[name] = self._load_or_warn(name)
            if (service := self._loaded[name]) is not None:
                yield service

    def _load_or_warn(self, name: str) -> Service | None:
        try:
            return self.load(name)
        except LanemeshError as error:
            log.warning("%s; its node types are missing", error)
            return None


def _alike(one: str, other: str) -> int:
    """The length of the common prefix."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def load_file(path: Path) -> Service:
    """The node types that a Python file defines, as a service named after the file. It can import the modules beside it. A file is
    executed once until it or a module that it imports from its folder changes.

    Raises:
        LanemeshError: there is no such file, it fails, or it defines no node types.
    """
    if path.is_dir():
        message = f"{path} is a folder; name a Python file in it that defines node types"
        raise _error("bad-nodes-file", Code.INVALID_ARGUMENT, message)
    if not path.is_file():
        raise _error("no-such-file", Code.NOT_FOUND, f"there is not a Python file {path}")
    if path.suffix != ".py":
        raise _error(
            "bad-nodes-file", Code.INVALID_ARGUMENT, f'{path} is not a Python file: its name does not end in ".py"'
        )
    from lanemesh.server.user_modules import USER_MODULES

    try:
        module, _ = USER_MODULES.load(path)
    except BaseException as error:
        raise LanemeshError(_failed_load(path, failure_of(error))) from error
    nodes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Node)
        and value.__module__ == module.__name__
        and (value.kind_ is not Kind.HELPER or value.offers)
    ]
    if not nodes:
        what = (
            "classes that derive from lanemesh.Node and implement process, gen_process or run, or functions below @node"
        )
        message = f"{path} defines no node types: {what}"
        raise _error("no-nodes", Code.INVALID_ARGUMENT, message)
    return Service(path.stem, nodes)


def all_services(names: Iterable[str], files: Sequence[Path] = ()) -> list[Service]:
    """Installed services with these names and those of files, later ones taking precedence.

    Raises:
        LanemeshError: one of them cannot be loaded.
    """
    installed = InstalledServices()
    return [*(installed.load(name) for name in names), *load_files(files)]


def load_files(paths: Sequence[Path]) -> list[Service]:
    """The services of files, each with a unique name: that of its file, with a number if an installed service or an earlier file
    has it already. A file that is given twice is used once, at its last position.

    Raises:
        LanemeshError: one of them cannot be loaded.
    """
    taken = set(service_names())
    services = []
    for path in only_once(paths):
        service = load_file(path)
        name = next(name for name in _numbered(service.name) if name not in taken)
        taken.add(name)
        services.append(replace(service, name=name))
    return services


def only_once(paths: Sequence[Path]) -> list[Path]:
    """The paths, without those that refer to the same file as a later one."""
    last = {path.expanduser().resolve(): path for path in paths}
    order = list(dict.fromkeys(path.expanduser().resolve() for path in reversed(paths)))
    return [last[file] for file in reversed(order)]


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def taken_names(nodes: Iterable[type[Node]]) -> list[str]:
    """Warnings about aliases that are also the name, or an alias, of another node type: a sentence each."""
    in_order = sorted(nodes, key=lambda node: node.provider)
    owners = {node.provider: node for node in in_order}
    warnings = []
    for node in in_order:
        for alias in node.aliases:
            owner = owners.setdefault(alias, node)
            if owner is not node:
                warnings.append(
                    f'the alias "{alias}" of {node.provider} means {owner.provider}, which has the same name'
                )
    return warnings


def _failed_load(path: Path, error: Exception) -> Fault:
    """The fault of a file that raised an error during loading, with the location in the user's code."""
    fault = Fault.from_exception(error)
    innermost = re.findall(r'(?m)^  File "(.+?)", line (\d+)', fault.traceback or user_frames(error))
    place = f" ({innermost[-1][0]}, line {innermost[-1][1]})" if innermost else ""
    what = f"{type(error).__name__}: {error.msg}" if isinstance(error, SyntaxError) else fault.message.rstrip(".")
    return Fault(
        code=Code.INVALID_ARGUMENT,
        reason=fault.reason if isinstance(error, LanemeshError) else "bad-nodes-file",
        message=f"{path} cannot be loaded: {what}{place}",
        details=fault.details,
        traceback=fault.traceback,
    )


def _error(reason: str, code: Code, message: str) -> LanemeshError:
    return LanemeshError(Fault(code=code, reason=reason, message=message))
