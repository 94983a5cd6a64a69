"""A copy of the node for each firing, so that nothing leaks from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lanemesh.node.node import Node
from lanemesh.values import copy_json


class Copies:
    """Makes shallow copies of one node."""

    def __init__(self, node: Node) -> None:
        self._class = type(node)
        specs = self._class.inputs_
        self._lists = frozenset(name for name, spec in specs.items() if spec.is_list)
        self._defaults: dict[str, Any] = {
            name: [] if spec.is_list else None if spec.required else spec.default for name, spec in specs.items()
        }
        self._copied = [name for name, default in self._defaults.items() if isinstance(default, dict | list)]
        self._state = {**node.__dict__, **self._defaults}

    def fresh(self, values: Mapping[str, Any]) -> Any:
        """A copy for one firing, with values that nobody else holds; defaults for those that are missing."""
        node = object.__new__(self._class)
        node.__dict__ = state = self._state.copy()
        for name in self._copied:
            state[name] = copy_json(self._defaults[name])
        for name, value in values.items():
            state[name] = list(value) if name in self._lists else self.own(value)
        return node

    def own(self, value: Any) -> Any:
        """A value that nobody else holds."""
        return copy_json(value) if isinstance(value, dict | list) else value

    def maker(self, name: str) -> Callable[[Any], Any]:
        """What makes a copy for one firing with a value of this one input, which nobody can change."""
        make, node_class, defaults = object.__new__, self._class, self._state.copy

        def fresh(value: Any) -> Any:
            node = make(node_class)
            node.__dict__ = state = defaults()
            state[name] = value
            return node

        def fresh_with_defaults(value: Any) -> Any:
            node = make(node_class)
            node.__dict__ = state = defaults()
            for other in self._copied:
                state[other] = copy_json(self._defaults[other])
            state[name] = value
            return node

        return fresh_with_defaults if self._copied else fresh
