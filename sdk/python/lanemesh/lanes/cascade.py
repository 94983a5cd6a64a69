"""Calls that cause further calls, one after the other instead of one inside the other.

A stop runs up a pipeline against the direction of its lanes: a node whose lanes are all stopped stops its own inputs, and so on.
Nested calls would reach the recursion limit in a chain of a few hundred nodes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable


class _Pending(threading.local):
    """The calls of this thread that have not been made yet; None outside of a cascade."""

    calls: deque[Callable[[], object]] | None = None


_pending = _Pending()


def cascade(calls: Iterable[Callable[[], object]]) -> None:
    """Makes these calls, and those that they cause by this function, in order. Inside of a cascade they are made before its
    outermost call returns. All are made even if one raises.

    Raises:
        Exception: what the first call raised that failed.
    """
    if _pending.calls is not None:
        _pending.calls.extend(calls)
        return
    pending = _pending.calls = deque(calls)
    failure: Exception | None = None
    try:
        while pending:
            try:
                pending.popleft()()
            except Exception as error:
                failure = failure or error
    finally:
        _pending.calls = None
    if failure is not None:
        raise failure
