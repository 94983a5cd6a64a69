"""The files of a node server that configs of pipelines may name: those under its roots, symbolic links resolved."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.rendering import rendered

PATH_FORMATS = frozenset({"path", "file-path", "directory-path"})
"""The `format` of a path in a JSON schema, as pydantic writes it for `Path`, `FilePath` and `DirectoryPath`."""
PATH_OR_NAME = "path-or-name"
"""The `format` of a text that is a path, or a name that is no file."""

_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class FileRoots:
    """Folders under which files may be named by configs."""

    roots: tuple[Path, ...]
    """The folders, resolved."""

    @classmethod
    def of(cls, roots: Iterable[Path]) -> FileRoots:
        """These folders, as they are now."""
        return cls(tuple(root.expanduser().resolve() for root in roots))

    @classmethod
    def standard(cls) -> FileRoots:
        """What a node server allows unless it is told otherwise: its working directory, and the cache of prepared models."""
        cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
        with contextlib.suppress(RuntimeError):  # there is no home
            models = (cache if cache.is_absolute() else Path.home() / ".cache") / "lanemesh" / "models"
            return cls.of([Path.cwd(), models])
        return cls.of([Path.cwd()])

    def check(self, config: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> None:
        """Checks each path in a config, by the JSON schema of that config.

        Raises:
            LanemeshError: "file-outside-roots", with the setting and what to do.
        """
        for setting, path in _paths(config, schema, schema, "", _MAX_DEPTH):
            if not self._allows(path):
                raise _outside(where, setting, path, self.roots)

    def _allows(self, path: str) -> bool:
        try:
            whole = Path(path).expanduser().resolve()
        except (OSError, RuntimeError, ValueError):  # no such home, a NUL byte, a circle of links
            return False
        return any(whole.is_relative_to(root) for root in self.roots)


@functools.lru_cache(maxsize=256)
def schema_of(config: type[BaseModel]) -> Mapping[str, Any]:
    """The JSON schema of a node type's config."""
    return config.model_json_schema()


def _paths(value: Any, rule: Any, schema: Mapping[str, Any], setting: str, depth: int) -> Iterator[tuple[str, str]]:
    """The paths in a value, whose schema is `rule`, each after its setting."""
    if not isinstance(rule, Mapping) or value is None or not depth:
        return
    reference = rule.get("$ref")
    if isinstance(reference, str):
        yield from _paths(value, referenced(schema, reference), schema, setting, depth - 1)
    for key in ("anyOf", "oneOf", "allOf"):
        for part in rule.get(key) or ():
            yield from _paths(value, part, schema, setting, depth - 1)
    if isinstance(value, str):
        kind = rule.get("format")
        if value and (kind in PATH_FORMATS or (kind == PATH_OR_NAME and _looks_like_a_path(value))):
            yield setting, value
    elif isinstance(value, Mapping):
        known = rule.get("properties") or {}
        for key, inner in value.items():
            part = known.get(key, rule.get("additionalProperties"))
            yield from _paths(inner, part, schema, f"{setting}.{key}" if setting else str(key), depth - 1)
    elif isinstance(value, (list, tuple)):
        first = rule.get("prefixItems") or ()
        for index, inner in enumerate(value):
            part = first[index] if index < len(first) else rule.get("items")
            yield from _paths(inner, part, schema, f"{setting}[{index}]", depth - 1)


def _looks_like_a_path(value: str) -> bool:
    if "\0" in value or value.startswith(("~", "/", ".")) or "\\" in value:
        return True
    try:
        return Path(value).exists()
    except (OSError, ValueError):
        return True


def referenced(schema: Mapping[str, Any], reference: str) -> Any:
    """What a `$ref` within a JSON schema points to; None if it points elsewhere or to nothing."""
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
