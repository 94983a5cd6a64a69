"""Nodes: what authors derive from, and how nodes run. The package itself is the decorator `@node` of functions as nodes, since
`from lanemesh import node` gives it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _NodePackage(ModuleType):
    """The package, which can be called."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """What `lanemesh.node.function_nodes.node` returns."""
        from lanemesh.node.function_nodes import node

        return node(*arguments, **settings)


sys.modules[__name__].__class__ = _NodePackage
