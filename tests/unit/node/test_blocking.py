"""Asynchronous bodies that keep the event loop are warned of, by name, once."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lanemesh import Context, In, Inputs, Node, Out, Outputs
from lanemesh.testing import run_node_async

WARNED = threading.Event()


class Noticed(logging.Handler):
    """Keeps warnings, and sets an event when one arrives, from whichever thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        WARNED.set()


def block() -> bool:
    """Keeps the event loop until a warning has come."""
    return WARNED.wait(20)


class Blocks(Node):
    """Blocks in `process`."""

    n: In[int]
    out: Out[bool]

    async def process(self, context: Context) -> Any:
        return block()


class BlocksWhileYielding(Node):
    """Blocks in `gen_process`."""

    n: In[int]
    out: Out[bool]

    async def gen_process(self, context: Context) -> AsyncIterator[Any]:
        yield "out", block()


class BlocksInRun(Node):
    """Blocks in `run`."""

    n: In[int]
    out: Out[bool]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for _ in inputs.stream("n"):
            await outputs.emit("out", block())


@pytest.mark.timing
@pytest.mark.parametrize("node", [Blocks, BlocksWhileYielding, BlocksInRun])
async def test_a_body_that_blocks_is_named_once(node: type[Node]) -> None:
    WARNED.clear()
    handler = Noticed()
    logging.getLogger(f"lanemesh.node.{node.provider}").addHandler(handler)
    try:
        result = await run_node_async(node, n=[1, 2], timeout=60)
    finally:
        logging.getLogger(f"lanemesh.node.{node.provider}").removeHandler(handler)
    assert result.out == [True, True]
    (message,) = handler.messages
    assert "has kept the event loop for over 100 ms" in message


class Waits(Node):
    """Waits without blocking."""

    n: In[int]
    out: Out[int]

    async def process(self, context: Context) -> Any:
        await asyncio.sleep(0.3)
        return self.n


async def test_a_body_that_awaits_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert (await run_node_async(Waits, n=1)).out == [1]
    assert not caplog.records
