"""What runs may leave behind in a process: tasks, open files, and what the servers in it hold."""

from __future__ import annotations

import asyncio
import gc
import os
import re
from collections import Counter
from collections.abc import Callable

_RUN_ID = re.compile(r"run-[0-9a-f]{12}")
_OF_CLIENTS = ("run inputs", "run updates", "run call", "acknowledgements")
"""Names of the tasks of a client that serve one run."""
_CALL = "RunService/Run]"
"""How the name of the task ends that serves a call of `Run`."""

WAIT_SECONDS = 30.0
"""How long the tasks of ended runs may take to end on a busy machine."""


def tasks() -> Counter[str]:
    """The tasks of this event loop, by name. One without a name of its own has that of its coroutine, and no name has the id of a
    run."""
    return Counter(_RUN_ID.sub("run", _name_of(task)) for task in asyncio.all_tasks())


def tasks_of_runs() -> list[str]:
    """The names of the tasks of this event loop that serve one run."""
    names = map(_name_of, asyncio.all_tasks())
    return [name for name in names if _RUN_ID.search(name) or name in _OF_CLIENTS or name.endswith(_CALL)]


def open_files(pid: int | str = "self") -> int:
    """The number of open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    """The number of threads of a process."""
    return len(os.listdir(f"/proc/{pid}/task"))


async def settled(take: Callable[[], Counter[str]]) -> Counter[str]:
    """What `take` returns once no task in this event loop serves a run."""
    await _until_empty(lambda: Counter(tasks_of_runs()), "tasks of ended runs are left")
    gc.collect()
    return take()


async def check_no_growth(before: Counter[str], take: Callable[[], Counter[str]]) -> None:
    """Waits until `take` returns of nothing more than `before`. Raises AssertionError if that does not come to be."""
    await settled(take)
    await _until_empty(lambda: take() - before, "there is more than before")


async def _until_empty(excess: Callable[[], Counter[str]], what: str) -> None:
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + WAIT_SECONDS
    while left := excess():
        assert loop.time() < ends_at, f"{what}: {dict(left)}"
        await asyncio.sleep(0.01)


def _name_of(task: asyncio.Task[object]) -> str:
    name = task.get_name()
    if not name.startswith("Task-"):
        return name
    return getattr(task.get_coro(), "__qualname__", name)
