"""The pipe by which a process that we have started notices the end of its parent, however that ends.

The parent gives it as standard input. The process moves it to a descriptor of its own, so that user code that reads or closes
standard input does not reach it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from io import FileIO

from lanemesh._aio.forks import close_in_children


def take_standard_input() -> FileIO:
    """Moves standard input to a descriptor that no child gets, and returns it. Standard input is empty from then on.

    Call it before user code is loaded.
    """
    taken = FileIO(os.dup(0), "r")
    empty_standard_input()
    close_in_children(taken)
    return taken


def empty_standard_input() -> None:
    """Gives this process an empty standard input: user code that reads from it gets its end."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    if nothing:  # else standard input was closed
        os.dup2(nothing, 0)
        os.close(nothing)
    else:
        os.set_inheritable(nothing, True)


def when_parent_ends(pipe: FileIO, ended: Callable[[], None]) -> None:
    """Calls `ended` in the running event loop once the other end of the pipe is closed."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        with contextlib.suppress(ConnectionError):  # the parent was killed
            if pipe.read(4096) != b"":
                return
        loop.remove_reader(pipe)
        ended()

    loop.add_reader(pipe, read)


def keep_from_children(stream: asyncio.StreamWriter | None) -> None:
    """Closes the parent's end of such a pipe in forked children, which would hide the end of the parent."""
    if stream is not None:
        close_in_children(stream.get_extra_info("pipe"))
