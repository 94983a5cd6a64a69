"""The audit events of the interpreter: what it opens, imports and executes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

Listener = Callable[[str, tuple[Any, ...]], object]
"""Gets the name of an event and its arguments."""

_listeners: list[Listener] = []


@contextmanager
def audited(listener: Listener) -> Iterator[None]:
    """Calls a listener with the events within the block."""
    _add_hook()
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@cache
def _add_hook() -> None:
    """Python cannot remove a hook, and calls it at each event. So a process that needs none has none."""
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    for listener in _listeners:
        listener(event, arguments)
