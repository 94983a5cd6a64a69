"""The Python packages that node types need: which are missing here, the command that installs them, and their import."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module, invalidate_caches
from importlib.util import find_spec

from lanemesh.v1 import node_pb2

LOOK_AGAIN_SECONDS = 1.0
"""How long the folders of packages may be listed from memory: one listing takes 10 ms, and there may be a hundred node types."""

_installed: set[str] = set()
"""Packages that were found. They stay installed as long as the process lives."""
_listed_at = float("-inf")
"""When the folders were last listed, by the monotonic clock."""
_imported: set[str] = set()
"""Packages that were imported by `import_packages`."""
_importing = threading.Lock()
"""Held by the one caller of `import_packages` that imports."""


def missing_packages(names: Iterable[str]) -> tuple[str, ...]:
    """Those of these import names that cannot be found in the running Python environment. Nothing is imported but the parents of
    dotted names. Missing ones are looked for again at each call, so that a later installation is seen, after a second at the
    latest."""
    global _listed_at
    unknown = [name for name in names if name not in _installed]
    if unknown:
        if time.monotonic() - _listed_at >= LOOK_AGAIN_SECONDS:
            invalidate_caches()
            _listed_at = time.monotonic()
        _installed.update(name for name in unknown if _is_installed(name))
    return tuple(name for name in unknown if name not in _installed)


def are_imported(names: Sequence[str]) -> bool:
    """Whether `import_packages` has imported all of these packages."""
    return _imported.issuperset(names)


def import_packages(names: Sequence[str]) -> None:
    """Imports packages, in this thread. Calls of several threads take turns.

    Libraries such as NumPy have import cycles. If two threads import them at once, one can get a module that is not complete, and
    the library then stays unusable in this process. A package that cannot be imported is left out: the node type raises the error
    when it imports the package itself.
    """
    with _importing:
        for name in names:
            with suppress(Exception):
                import_module(name)
                _imported.add(name)


def install_command(manifest: node_pb2.Manifest) -> str:
    """The command that installs what a node type needs: its extra, or without one a command to complete, since the import name of a
    package may be the name of another project on PyPI."""
    if manifest.extra:
        return f"pip install 'lanemesh[{manifest.extra}]'"
    return f"pip install PROJECT, with the project of each missing import name: {', '.join(manifest.missing_packages)}"


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # a parent is missing, or a module was put into sys.modules without a spec
        return False
