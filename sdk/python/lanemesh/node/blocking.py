"""Finds `async` bodies that block the event loop, and logs a warning for each, once.

A thread requests a response from each event loop that runs asynchronous bodies. If a loop does not respond within 100 ms while it
executes a body, that body is named. Bodies themselves have no cost from it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from types import CodeType, FrameType
from typing import Any

from lanemesh.node.callables import innermost
from lanemesh.node.context import Context

BLOCKED_SECONDS = 0.1
"""Longest time that a body may run without an `await` before the warning."""
PAUSE_SECONDS = 0.05
"""Time between two requests to a loop, and before the first one."""
IDLE_PAUSES = 20
"""After so many pauses with nothing to watch the thread ends. Runs that follow one another share it."""


class _Watch:
    """The asynchronous bodies of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.bodies: dict[Context, CodeType] = {}
        """The code of each body, by its component's context."""


class BlockingWatch:
    """Watches event loops from a daemon thread, which ends a second after there is nothing left to watch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[asyncio.AbstractEventLoop, _Watch] = {}
        self._thread: threading.Thread | None = None

    def add(self, context: Context, body: Any) -> None:
        """Watches the body of a component, which runs in the current event loop, until `remove`. Has no effect outside of an event
        loop, or if the code of the body is unknown."""
        code = getattr(innermost(body), "__code__", None)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if code is None:
            return
        with self._lock:
            watch = self._watches.get(loop)
            if watch is None:
                watch = self._watches[loop] = _Watch(loop)
            watch.bodies[context] = code
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lanemesh-blocking", daemon=True)
                self._thread.start()

    def remove(self, context: Context) -> None:
        """Stops watching the body of a component."""
        with self._lock:
            for watch in self._watches.values():
                watch.bodies.pop(context, None)

    def _run(self) -> None:
        pause = threading.Event()
        idle = 0
        while True:
            pause.wait(PAUSE_SECONDS)  # first, because most bodies of short runs end in it
            with self._lock:
                for loop, watch in list(self._watches.items()):
                    if loop.is_closed() or not watch.bodies:
                        del self._watches[loop]
                watches = list(self._watches.values())
                idle = 0 if watches else idle + 1
                if idle > IDLE_PAUSES:
                    self._thread = None
                    return
            while watches:
                _ask(watches.pop())


def _ask(watch: _Watch) -> None:
    """Logs a warning for the body that blocks a loop, if one does."""
    answered = threading.Event()
    try:
        watch.loop.call_soon_threadsafe(answered.set)
    except RuntimeError:  # the loop has closed
        return
    if answered.wait(BLOCKED_SECONDS):
        return
    context = _blocking(dict(watch.bodies), sys._current_frames().get(watch.thread))
    if context is not None:
        watch.bodies.pop(context, None)
        context.log.warning(
            "its asynchronous body has kept the event loop for over %g ms, in which no other node of this server runs: await what "
            "takes long, or make it a plain function, which runs in a thread",
            BLOCKED_SECONDS * 1000,
        )
    while not answered.wait(1.0):
        if watch.loop.is_closed():
            return


def _blocking(bodies: dict[Context, CodeType], frame: FrameType | None) -> Context | None:
    """The component whose body a thread executes."""
    codes = set(bodies.values())
    while frame is not None:
        if frame.f_code in codes:
            values = list(frame.f_locals.values())
            candidates = [context for context, code in bodies.items() if code is frame.f_code]
            named = [context for context in candidates if any(value is context for value in values)]
            return (named or candidates)[0]
        frame = frame.f_back
    return None


WATCH = BlockingWatch()
"""The instance of this process."""
