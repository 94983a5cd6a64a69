"""Nodes: the base of node classes, and their execution. The package itself is the decorator `@node`, which makes nodes of
functions, because `from lanemesh import node` returns it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _NodePackage(ModuleType):
    """The package as a callable."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """The result of `lanemesh.node.function_nodes.node`."""
        from lanemesh.node.function_nodes import node

        return node(*arguments, **settings)


sys.modules[__name__].__class__ = _NodePackage
