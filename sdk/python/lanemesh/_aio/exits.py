"""The end of a command or a server of ours: threads and processes that user code left do not hold it up.

Python waits at its end for every thread that is no daemon, and `asyncio.run` for the threads of `asyncio.to_thread`, both without a
limit. A program of a user's that embeds a mesh keeps these rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lanemesh._aio.signals import end_at_once, end_at_signals
from lanemesh.rendering import rendered

T = TypeVar("T")

GRACE_SECONDS = 1.0
"""How long threads and processes that user code left may run on after the work is done."""
FLUSH_SECONDS = 0.5
"""How long what it has printed may take to be written."""
MAX_NAMED = 5
"""Most threads and processes that are named."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, but does not wait for threads of `asyncio.to_thread` at the end."""

    async def with_executor() -> T:
        asyncio.get_running_loop().set_default_executor(_Executor(thread_name_prefix="asyncio"))
        return await main

    return asyncio.run(with_executor())


class _Executor(ThreadPoolExecutor):
    """An executor whose shutdown waits for none of its threads."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Lets its threads end once they are done."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)


def end_within(code: int, seconds: float = GRACE_SECONDS) -> None:
    """Ends the process with an exit code if it still exists after some seconds, and reports on standard error what kept it.

    Call it in the main thread when all work is done and reported, and let the process end as usual then.
    """

    def end() -> None:
        left = _left_behind()
        line = f"warning: {left} still ran when the work was done, and was ended; end it in `unload` or `finalize`\n"
        with contextlib.suppress(OSError):
            os.write(2, line.encode(errors="backslashreplace"))
        _flush()
        end_at_once(code)

    end_at_signals(code)
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    with contextlib.suppress(RuntimeError):  # the system starts no more threads
        timer.start()


def _left_behind() -> str:
    """What Python waits for, in words."""
    main = threading.main_thread()
    threads = [thread for thread in threading.enumerate() if not thread.daemon and thread is not main]
    named = [f"the thread {rendered(thread.name)}{_place(thread)}" for thread in threads]
    started = sys.modules.get("multiprocessing")
    if started is not None:
        named += [f"the process {child.pid} ({rendered(child.name)})" for child in started.active_children()]
    if not named:
        return f"an exit handler of user code{_place(main)}"
    more = f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
    return ", ".join(named[:MAX_NAMED]) + more


def _place(thread: threading.Thread) -> str:
    """Where a thread is: the innermost line outside of the standard library, else the innermost one."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return ""
    stack = traceback.extract_stack(frame)
    entry = next((entry for entry in reversed(stack) if not _is_standard(entry.filename)), stack[-1])
    return f" (in {entry.name} at {entry.filename}:{entry.lineno})"


def _is_standard(file: str) -> bool:
    """Whether a file is of the standard library."""
    if file.startswith("<frozen"):
        return True
    return file.startswith(sysconfig.get_path("stdlib") + os.sep) and "-packages" not in file


def _flush() -> None:
    """Writes what was printed, unless nothing takes it."""

    def flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()

    flushing = threading.Thread(target=flush, daemon=True)
    with contextlib.suppress(RuntimeError):
        flushing.start()
        flushing.join(FLUSH_SECONDS)
