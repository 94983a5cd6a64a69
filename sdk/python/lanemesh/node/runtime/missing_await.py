"""A missing `await` before `outputs.emit(...)` is an error of its node.

`emit` itself has no cost for that. Python reports every coroutine that is dropped before it has started by a call of
`warnings._warn_unawaited_coroutine`. For a coroutine of `emit` the node fails; all others are reported as usual. That function is
private to Python. Where it does not exist, Python's own RuntimeWarning remains.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from lanemesh.node.outputs import Outputs

_HOOK = "_warn_unawaited_coroutine"


@functools.cache
def watch() -> None:
    """Installs the hook: from now on every `emit` that was not awaited is reported to its `Outputs`. A second call does nothing."""
    others: Callable[[CoroutineType[Any, Any, Any]], None] | None = getattr(warnings, _HOOK, None)
    if others is None:
        return

    def warn(dropped: CoroutineType[Any, Any, Any]) -> None:
        frame = dropped.cr_frame if dropped.cr_code is Outputs.emit.__code__ else None
        if frame is None:
            others(dropped)
            return
        arguments = frame.f_locals
        arguments["self"].missing_await(arguments["port"])

    setattr(warnings, _HOOK, warn)
