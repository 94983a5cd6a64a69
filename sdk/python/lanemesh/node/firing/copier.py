"""A copy of the node for each firing, so that no state passes from one firing to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from inspect import getattr_static
from typing import Any

from lanemesh.json_values import copy_json
from lanemesh.node.node import Node

WATCHED_FIRINGS = 8
"""How many firings are checked for attributes that their bodies set."""


class NodeCopier:
    """Makes shallow copies of one node."""

    def __init__(self, node: Node) -> None:
        self._class = type(node)
        specs = self._class.inputs_
        self._list_inputs = frozenset(name for name, spec in specs.items() if spec.is_list)
        self._defaults: dict[str, Any] = {
            name: [] if spec.is_list else None if spec.required else spec.default for name, spec in specs.items()
        }
        self._mutable_defaults = [name for name, default in self._defaults.items() if isinstance(default, dict | list)]
        self._state = {**node.__dict__, **self._defaults}
        self._watched = 0
        """Number of copies that were checked for attributes that bodies set."""
        self._latest: Any = None
        """The next copy to check."""
        self._lost: set[str] = set()
        """Attributes that bodies have set on their copies."""

    def fresh(self, values: Mapping[str, Any]) -> Any:
        """A copy for one firing, with unshared values, and defaults for missing ones."""
        node = object.__new__(self._class)
        node.__dict__ = state = self._state.copy()
        for name in self._mutable_defaults:
            state[name] = copy_json(self._defaults[name])
        for name, value in values.items():
            state[name] = list(value) if name in self._list_inputs else self.unshared(value)
        if self._watched < WATCHED_FIRINGS:
            self._watch(node)
        return node

    def duplicate(self, node: Any) -> Any:
        """A further copy of a copy, whose values are not shared with it."""
        made = object.__new__(self._class)
        made.__dict__ = state = node.__dict__.copy()
        for name in self._defaults:
            if isinstance(value := state.get(name), dict | list):
                state[name] = list(value) if name in self._list_inputs else copy_json(value)
        return made

    def lost_attributes(self) -> str:
        """A description of the attributes that the first firings have set on their copies, and that are lost; empty if none."""
        self._watch(None)
        if not self._lost:
            return ""
        names = ", ".join(f"self.{name}" for name in sorted(self._lost))
        return (
            f"{self._class.__name__}.{self._class.kind_.value} sets {names}, which later firings do not see: each has a fresh copy "
            "of the node. Keep state in the result of `load`, or implement `run`"
        )

    def _watch(self, node: Any) -> None:
        """Checks the attributes of the previous copy. Only one copy is kept, because its values may be large."""
        latest, self._latest = self._latest, node
        if latest is None:
            return
        self._watched += 1
        for name in latest.__dict__.keys() - self._state.keys():
            if not isinstance(getattr_static(self._class, name, None), cached_property):
                self._lost.add(name)
        if self._watched >= WATCHED_FIRINGS:
            self._latest = None

    def unshared(self, value: Any) -> Any:
        """A value that is not shared."""
        return copy_json(value) if isinstance(value, dict | list) else value

    def copier_for(self, name: str) -> Callable[[Any], Any]:
        """A function that makes a copy for one firing with a value of this one input, which is immutable."""
        make, node_class, defaults = object.__new__, self._class, self._state.copy

        def fresh(value: Any) -> Any:
            node = make(node_class)
            node.__dict__ = state = defaults()
            state[name] = value
            if self._watched < WATCHED_FIRINGS:
                self._watch(node)
            return node

        def fresh_with_defaults(value: Any) -> Any:
            node = make(node_class)
            node.__dict__ = state = defaults()
            for other in self._mutable_defaults:
                state[other] = copy_json(self._defaults[other])
            state[name] = value
            if self._watched < WATCHED_FIRINGS:
                self._watch(node)
            return node

        return fresh_with_defaults if self._mutable_defaults else fresh
