"""What a forked child of user code must not inherit: signal handlers, pipes that show the end of a process, and gRPC's objects.

* Signals: a child of `multiprocessing` or `os.fork` has the handlers of its parent, and asyncio's wakeup descriptor. A signal to
  the child would reach the event loop of the parent.
* Pipes: a copy of a pipe's end hides that the process which should hold it has ended.
* gRPC: the threads of a channel or a server are missing in the child. To free the object there hangs or crashes.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Protocol
from weakref import WeakSet

Handler = Callable[[int, FrameType | None], object]


class HasDescriptor(Protocol):
    """A file, pipe or socket."""

    def fileno(self) -> int:
        """Its descriptor. Raises ValueError once it is closed."""


_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_handlers: set[Handler] = set()
_pipes: WeakSet[HasDescriptor] = WeakSet()
_kept_modules: set[str] = set()
"""Modules of the classes whose objects are never freed in a forked child."""
_exit_pipe: list[int] = []
"""Both ends of the pipe that closes when this process ends: the one that is read, and the one that is held."""
_masks = threading.local()


def reset_signals_in_children(handler: Handler) -> None:
    """Lets forked children have the default handlers of SIGINT and SIGTERM where this process has `handler`."""
    _register()
    _handlers.add(handler)


def close_in_children(pipe: HasDescriptor) -> None:
    """Closes this process's end of a pipe in forked children: there it is /dev/null."""
    _register()
    _pipes.add(pipe)


def keep_in_children(*modules: str) -> None:
    """Never frees, in forked children, the objects whose classes these modules define."""
    _register()
    _kept_modules.update(modules)


def end_children_with_us() -> None:
    """Lets the system end every forked child, and children of those, when this process ends, however it ends.

    Call it in processes of our own only. Works on Linux; has no effect elsewhere.

    Does not reach what executes another program, such as a child that multiprocessing starts by "spawn" or "forkserver".
    """
    if sys.platform == "linux" and not _exit_pipe:
        _register()
        _exit_pipe.extend(os.pipe())


@cache
def _register() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_in_child)


def _block() -> None:
    """Holds signals back, so that none reaches a child before its handlers are reset, and the garbage collector, so that it frees
    nothing there before `_keep_inherited`: the handlers of other modules run earlier."""
    _masks.collects = gc.isenabled()
    gc.disable()
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)
    if _masks.collects:
        gc.enable()


def _in_child() -> None:
    try:
        with contextlib.suppress(ValueError):  # a child of a subinterpreter has no handlers
            _reset_handlers()
        _keep_inherited()
        for pipe in list(_pipes):
            _replace(pipe)
        _pipes.clear()
        with contextlib.suppress(OSError):
            _end_with_parent()
    finally:
        _unblock()


def _reset_handlers() -> None:
    ours = [number for number in _STOP_SIGNALS if signal.getsignal(number) in _handlers]
    for number in ours:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if ours:
        signal.set_wakeup_fd(-1)
    _handlers.clear()


def _keep_inherited() -> None:
    """Puts the objects into a cycle that the garbage collector does not see, so that nothing frees them, nor the end of the
    interpreter."""
    classes = {
        id(thing)  # by identity: classes of user code may have any `__hash__` and `__module__`
        for name in _kept_modules & sys.modules.keys()
        for thing in vars(sys.modules[name]).values()
        if isinstance(thing, type) and thing.__module__ == name
    }
    kept: list[object] = [thing for thing in gc.get_objects() if id(type(thing)) in classes]
    if kept:
        kept.append(kept)
        gc.freeze()


def _replace(pipe: HasDescriptor) -> None:
    """Replaces the descriptor rather than closes it: its number must not get another meaning while the object exists."""
    with contextlib.suppress(OSError, ValueError):  # it is closed
        descriptor = pipe.fileno()
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)


def _end_with_parent() -> None:
    """Asks for SIGKILL when the last holder of the exit pipe ends, by a file description of this child's own."""
    if not _exit_pipe or sys.platform != "linux":
        return
    import fcntl

    read, held = _exit_pipe
    own = os.open(f"/proc/self/fd/{read}", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, held, inheritable=False)
    os.close(nothing)
    if not os.read(own, 1):  # the parent ended in the meantime: EOF
        os.kill(os.getpid(), signal.SIGKILL)
