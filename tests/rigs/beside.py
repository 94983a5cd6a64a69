"""Processes that live beside the tests, for what mostly waits: begun with the first test, asked by the last ones."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from rigs.lanes import SOON, environment


class Beside:
    """A process of a module, which tells one thing. It ends with this one, since it reads our end of its standard input."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )

    def told(self) -> Any:
        """What it tells, when it does. Raises AssertionError with its error if it failed."""
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline() or "{}")
        assert "told" in told, told.get("error", "it ended without a word")
        return told["told"]

    def close(self) -> None:
        """Ends it."""
        try:
            self._process.communicate(timeout=SOON)
        finally:
            self._process.kill()


def tell(main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Runs such a process: tells what `main` returns, or why it failed."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        told = {"told": asyncio.run(main())}
    except BaseException:
        told = {"error": traceback.format_exc()}
    print(json.dumps(told), flush=True)
    os._exit(0)  # the other thread still reads standard input


def _exit_with_parent() -> None:
    """Ends the process with its standard input."""
    sys.stdin.buffer.read()
    os._exit(1)
