"""What configs of pipelines may name on a node server: files and modules under its roots, symbolic links resolved, and the commands
and hosts that it allows."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import os
import re
import shlex
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.rendering import rendered

PATH_FORMATS = frozenset({"path", "file-path", "directory-path"})
"""The `format` of a path in a JSON schema, as pydantic writes it for `Path`, `FilePath` and `DirectoryPath`."""
PATH_OR_NAME = "path-or-name"
"""The `format` of a text that is a path, or a name that is not a file."""
MODULE = "python-module"
"""The `format` of the dotted name of a Python module that is imported."""
ANY_MODULE = "*"
"""Allows every module."""
COMMAND_LINE = "command-line"
"""The `format` of a list of texts: a command that is started, and its arguments."""
ENVIRONMENT = "environment"
"""The `format` of an object with environment variables for a command."""
REMOTE_URL = "remote-url"
"""The `format` of a URL that a node connects to."""
SECRET_URL = "x-remote-url"
"""The key of a JSON schema that marks such a URL where its `format` is that of a secret."""
ANY = "*"
"""Allows every command, or every host."""

_FORMATS = frozenset({PATH_OR_NAME, MODULE, COMMAND_LINE, ENVIRONMENT, REMOTE_URL})
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
"""The names of folders of installed packages."""
_MAX_DEPTH = 64
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_PORTS = {"http": 80, "https": 443, "postgresql": 5432}


@dataclass(frozen=True, slots=True)
class FileRoots:
    """Folders under which files and modules may be named by configs."""

    roots: tuple[Path, ...]
    """The folders, resolved."""
    modules: frozenset[str] = frozenset()
    """Modules that may be named in any location, each with its submodules; "*": all."""
    commands: tuple[tuple[str, ...], ...] = ()
    """Commands that may be started, with any further arguments; ("*",): all."""
    variables: frozenset[str] = frozenset()
    """Environment variables that may be set for commands; "*": all."""
    hosts: frozenset[str] = frozenset()
    """Hosts that nodes may connect to, as "name" or "name:port"; "*": all."""

    @classmethod
    def of(
        cls,
        roots: Iterable[Path],
        modules: Iterable[str] = (),
        commands: Iterable[str] = (),
        hosts: Iterable[str] = (),
    ) -> FileRoots:
        """The file roots of these folders, resolved now, these modules, commands and hosts. A command is written as in a shell;
        each `NAME=` before it is a variable that may be set for commands."""
        allowed: list[tuple[str, ...]] = []
        variables: set[str] = set()
        for command in commands:
            words = shlex.split(command)
            while words and _VARIABLE.fullmatch(words[0]):
                variables.add(words.pop(0)[:-1])
            allowed.append(tuple(words))
        if (ANY,) in allowed:
            variables.add(ANY)
        return cls(
            tuple(root.expanduser().resolve() for root in roots),
            frozenset(modules),
            tuple(filter(None, allowed)),
            frozenset(variables),
            frozenset(host.lower() for host in hosts),
        )

    @classmethod
    def standard(
        cls, modules: Iterable[str] = (), commands: Iterable[str] = (), hosts: Iterable[str] = ()
    ) -> FileRoots:
        """The working directory and the cache of prepared models, which a node server allows by default, and these modules,
        commands and hosts."""
        cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
        with contextlib.suppress(RuntimeError):  # there is no home directory
            models = (cache if cache.is_absolute() else Path.home() / ".cache") / "lanemesh" / "models"
            return cls.of([Path.cwd(), models], modules, commands, hosts)
        return cls.of([Path.cwd()], modules, commands, hosts)

    def check(self, config: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> None:
        """Checks each path, module, command and URL in a config, by the JSON schema of that config. Imports nothing.

        Raises:
            LanemeshError: "file-outside-roots", "module-not-allowed", "command-not-allowed" or "host-not-allowed", with the setting
                and the remedy.
        """
        for setting, value, kind in _named(config, schema, schema, "", _MAX_DEPTH):
            if kind == MODULE:
                if not self._allows_module(value):
                    raise _not_allowed(where, setting, value, self.roots)
            elif kind == COMMAND_LINE:
                if not self._allows_command(value):
                    raise _command_not_allowed(where, setting, value)
            elif kind == ENVIRONMENT:
                if self.variables.isdisjoint((value, ANY)):
                    raise _variable_not_allowed(where, setting, value)
            elif kind == REMOTE_URL:
                if not self._allows_host(value):
                    raise _host_not_allowed(where, setting, value)
            elif not self._allows(value):
                raise _outside(where, setting, value, self.roots)

    def _allows_command(self, command: str) -> bool:
        """Whether a command, as `shlex.join` writes it, begins with an allowed one."""
        words = tuple(shlex.split(command))
        return any(allowed == (ANY,) or words[: len(allowed)] == allowed for allowed in self.commands)

    def _allows_host(self, url: str) -> bool:
        from lanemesh.permissions import escaped, matches_host

        return any(matches_host(escaped(allowed), host) for allowed in self.hosts for host in _hosts_of(url))

    def _allows(self, path: str) -> bool:
        try:
            whole = Path(path).expanduser().resolve()
        except (OSError, RuntimeError, ValueError):  # an unknown home directory, a NUL byte, a loop of links
            return False
        return any(whole.is_relative_to(root) for root in self.roots)

    def _allows_module(self, name: str) -> bool:
        parts = name.split(".")
        packages = [".".join(parts[: count + 1]) for count in range(len(parts))]
        importlib.invalidate_caches()  # a module that was written just now
        if ANY_MODULE in self.modules or not self.modules.isdisjoint(packages):
            return True
        if not all(part.isidentifier() for part in parts):
            return False
        found: importlib.machinery.ModuleSpec | None = None
        for package in packages:  # the import runs each of them
            found = _spec(package, found)
            places = _places(found)
            if not places or not all(self._allows(place) and not self._is_installed(place) for place in places):
                return False
        return True

    def _is_installed(self, place: str) -> bool:
        """Whether a module is an installed one, which is under a root only because its whole environment is."""
        whole = Path(place).resolve()
        folders = [folder for folder in whole.parents if folder.name in _PACKAGE_FOLDERS]
        library = Path(sysconfig.get_path("stdlib")).resolve()
        if whole.is_relative_to(library):
            folders.append(library)
        return any(not any(root.is_relative_to(folder) for root in self.roots) for folder in folders)


@functools.lru_cache(maxsize=256)
def schema_of(config: type[BaseModel]) -> Mapping[str, Any]:
    """The JSON schema of a node type's config."""
    return config.model_json_schema()


@functools.lru_cache(maxsize=256)
def may_name(config: type[BaseModel]) -> bool:
    """Whether a config of a node type may name anything that `FileRoots.check` checks."""
    return _marks(schema_of(config))


def _marks(schema: Any) -> bool:
    """Whether a JSON schema has a rule with one of the formats of paths, modules, commands and URLs."""
    if isinstance(schema, Mapping):
        kind = schema.get("format")
        is_one = isinstance(kind, str) and (kind in PATH_FORMATS or kind in _FORMATS)
        return is_one or bool(schema.get(SECRET_URL)) or any(_marks(part) for part in schema.values())
    return isinstance(schema, (list, tuple)) and any(_marks(part) for part in schema)


def _spec(name: str, package: importlib.machinery.ModuleSpec | None) -> importlib.machinery.ModuleSpec | None:
    """Finds a module, below the package that contains it, without executing either."""
    try:
        if package is None:
            return importlib.util.find_spec(name)
        return importlib.machinery.PathFinder.find_spec(name, package.submodule_search_locations or [])
    except (ImportError, ValueError, AttributeError):  # ValueError: `__main__`
        return None


def _places(spec: importlib.machinery.ModuleSpec | None) -> list[str]:
    """The file of a module, or the folders of a namespace package; none for one without files."""
    if spec is None:
        return []
    if spec.has_location and spec.origin is not None:
        return [spec.origin]
    return list(spec.submodule_search_locations or ())


def _named(
    value: Any, rule: Any, schema: Mapping[str, Any], setting: str, depth: int
) -> Iterator[tuple[str, str, str]]:
    """The paths and module names in a value with the schema `rule`: the setting of each, the text itself, and its format."""
    if value is None or not depth:
        return
    for part in alternatives(rule, schema, depth):
        yield from _named_by(value, part, schema, setting, depth)


def _named_by(
    value: Any, rule: Mapping[str, Any], schema: Mapping[str, Any], setting: str, depth: int
) -> Iterator[tuple[str, str, str]]:
    """The same by one rule, without those that it refers to."""
    if isinstance(value, str):
        kind = REMOTE_URL if rule.get(SECRET_URL) else rule.get("format")
        is_given = value or (kind in PATH_FORMATS and "default" not in rule)  # `Path("")` is the working directory
        if (
            is_given
            and not (kind == REMOTE_URL and value == rule.get("default"))
            and (
                kind in PATH_FORMATS
                or kind in (MODULE, REMOTE_URL)
                or (kind == PATH_OR_NAME and _looks_like_a_path(value))
            )
        ):
            yield setting, value, kind
    elif isinstance(value, Mapping) and rule.get("format") == ENVIRONMENT:
        for name in value:
            yield setting, str(name), ENVIRONMENT
    elif isinstance(value, Mapping):
        known = rule.get("properties") or {}
        for key, inner in value.items():
            part = known.get(key, rule.get("additionalProperties"))
            yield from _named(inner, part, schema, f"{setting}.{key}" if setting else str(key), depth - 1)
    elif isinstance(value, (list, tuple)) and rule.get("format") == COMMAND_LINE:
        if value and all(isinstance(word, str) for word in value):
            yield setting, shlex.join(value), COMMAND_LINE
    elif isinstance(value, (list, tuple)):
        first = rule.get("prefixItems") or ()
        for index, inner in enumerate(value):
            part = first[index] if index < len(first) else rule.get("items")
            yield from _named(inner, part, schema, f"{setting}[{index}]", depth - 1)


def alternatives(rule: Any, schema: Mapping[str, Any], depth: int = _MAX_DEPTH) -> Iterator[Mapping[str, Any]]:
    """A rule of a JSON schema, and all rules that it refers to for the same value: by `$ref`, `anyOf`, `oneOf` and `allOf`."""
    if not isinstance(rule, Mapping) or not depth:
        return
    yield rule
    reference = rule.get("$ref")
    if isinstance(reference, str):
        yield from alternatives(referenced(schema, reference), schema, depth - 1)
    for key in ("anyOf", "oneOf", "allOf"):
        for part in rule.get(key) or ():
            yield from alternatives(part, schema, depth - 1)


def _hosts_of(url: str) -> set[str]:
    """The host of a URL, without and with its port; empty if it has none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    except ValueError:
        return set()
    host = f"[{host}]" if ":" in host else host
    return {host, f"{host}:{port}"} if host else set()


def _looks_like_a_path(value: str) -> bool:
    if "\0" in value or value.startswith(("~", "/", ".")) or "\\" in value:
        return True
    try:
        return Path(value).exists()
    except (OSError, ValueError):
        return True


def referenced(schema: Mapping[str, Any], reference: str) -> Any:
    """The target of a `$ref` within a JSON schema; None if it is elsewhere or does not exist."""
    rule: Any = schema
    for part in reference.removeprefix("#").split("/")[1:]:
        rule = rule.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(rule, Mapping) else None
    return rule if reference.startswith("#") else None


def _outside(where: str, setting: str, path: str, roots: Iterable[Path]) -> LanemeshError:
    known = ", ".join(map(str, roots)) or "none"
    message = (
        f"{where}: config.{setting} names {rendered(path)}, which is not under the file roots of its node server ({known}). "
        "Use a file there, or start the node server with --files ROOT"
    )
    return LanemeshError(Fault(code=Code.PERMISSION_DENIED, reason="file-outside-roots", message=message))


def _not_allowed(where: str, setting: str, module: str, roots: Iterable[Path]) -> LanemeshError:
    known = ", ".join(map(str, roots)) or "none"
    message = (
        f"{where}: config.{setting} names the module {rendered(module)}, which is not allowed: no module under the file roots "
        f"of its node server ({known}) has this name, or it is installed. Start the node server with --module NAME to allow it"
    )
    return LanemeshError(Fault(code=Code.PERMISSION_DENIED, reason="module-not-allowed", message=message))


def _command_not_allowed(where: str, setting: str, command: str) -> LanemeshError:
    words = shlex.split(command)
    message = (
        f"{where}: config.{setting} names the command {rendered(words[0])}, which its node server does not allow. Start the node "
        f"server with --allow 'command:{words[0]} ...', with the words that the command has to begin with"
    )
    return LanemeshError(Fault(code=Code.PERMISSION_DENIED, reason="command-not-allowed", message=message))


def _variable_not_allowed(where: str, setting: str, name: str) -> LanemeshError:
    message = (
        f"{where}: config.{setting} sets the environment variable {rendered(name)}, which its node server does not allow. Start "
        f"the node server with --allow 'command:{name[:80]}= COMMAND', with the command that gets it"
    )
    return LanemeshError(Fault(code=Code.PERMISSION_DENIED, reason="variable-not-allowed", message=message))


def _host_not_allowed(where: str, setting: str, url: str) -> LanemeshError:
    hosts = _hosts_of(url)
    if not hosts:
        message = f"{where}: config.{setting} is not a URL with a host. Write it as https://host/path"
        return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="host-not-allowed", message=message))
    host = min(hosts, key=len)
    message = (
        f"{where}: config.{setting} names the host {rendered(host)}, which its node server does not allow. Start the node server "
        f"with --allow host:{host}"
    )
    return LanemeshError(Fault(code=Code.PERMISSION_DENIED, reason="host-not-allowed", message=message))
