"""Node types whose bodies run in processes of their own, and a server of one that a test can kill."""

from __future__ import annotations

import decimal
import os
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lanemesh import Context, In, Node, Out
from lanemesh.server.isolation.parent import IsolatedBody


class Echo(Node):
    """Gives on what it gets, of any lane."""

    isolation = "process"
    value: In[Any]
    same: Out[Any]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"same": self.value}


class Odd(Node):
    """Returns what no pipe carries, or fails to load, or asks for what it has not."""

    isolation = "process"
    text: In[str]
    said: Out[str]

    async def process(self, context: Context) -> Any:
        match self.text:
            case "lambda":
                return {"said": lambda: None}
            case "exit":
                os._exit(7)
            case "fine":
                return {"said": "fine"}
            case "system exit":
                sys.exit(4)
            case "latest":
                return {"said": context.latest("text")}
            case _:
                return getattr(context, self.text)


class Unloadable(Node):
    """Cannot load."""

    isolation = "process"
    text: In[str]

    @classmethod
    async def load(cls, config: Any) -> None:
        raise OSError("no such model")

    def process(self, context: Context) -> None:
        """Never comes to this."""


class Flooding(Node):
    """Yields more than its pipe holds, and counts what it got rid of in the file `text`."""

    isolation = "process"
    text: In[str]
    much: Out[str]

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        for count in range(10_000):
            Path(self.text).write_text(f"{count}")
            yield "much", "x" * (1 << 11)


def flooded(file: str) -> None:
    """Waits until a Flooding has said more than the 128 KiB that its reader takes; its pipe holds some 50 KiB more."""
    while int(Path(file).read_text() or 0) < 70:
        time.sleep(0.001)


class Ahead(Node):
    """Yields how many values it has yielded; a file has how many of them were taken."""

    isolation = "process"
    text: In[str]
    most: Out[int]

    def gen_process(self, context: Context) -> Iterator[tuple[str, int]]:
        most = 0
        for count in range(1, 1000):
            most = max(most, count - int(Path(self.text).read_text() or 0))
            yield "most", most


VARIABLE: ContextVar[str] = ContextVar("variable", default="")


class Variables(Node):
    """Divides with a precision of its own, sets a variable, and yields what it finds."""

    isolation = "process"
    text: In[str]
    found: Out[str]

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        with decimal.localcontext() as local:
            local.prec = 4
            yield "found", VARIABLE.get()
            VARIABLE.set(self.text)
            yield "found", VARIABLE.get()
            yield "found", str(decimal.Decimal(1) / 3)


class Lasting(Node):
    """Tells its process, and stays."""

    isolation = "process"
    text: In[str] = ""

    def process(self, context: Context) -> None:
        os.write(2, f"{os.getpid()}\n".encode())
        time.sleep(3600)


async def started(node: Node) -> IsolatedBody:
    """A body of it in a process."""

    async def unheard(_: object) -> None:
        """Takes a report."""

    body = IsolatedBody(node, "{}", Context(run_id="r", component="c", provider="tested", report=unheard))
    await body.start()
    return body


async def serve() -> None:
    """Runs a body until the process is killed."""
    node = Lasting()
    await (await started(node)).process(node)
