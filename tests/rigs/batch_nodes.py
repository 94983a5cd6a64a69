"""A node type that processes texts in batches, held at a gate."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, ClassVar

from lanemesh import Batch, Context, In, Node, Out
from lanemesh.faults import Code, Fault, LanemeshError


class Shout(Node):
    """Writes texts in capitals, up to four at once. "poison" raises, "bad" fails by itself, "away" fails a batch for all."""

    batch = Batch(max=4, within=0)

    gate: ClassVar[asyncio.Event]
    """The batches after the first wait for it."""
    seen: ClassVar[list[list[str]]]
    """The texts of each batch."""
    begun: ClassVar[asyncio.Event]
    """A batch has begun."""
    cancelled: ClassVar[int]

    text: In[str]
    loud: Out[str]

    @classmethod
    def reset(cls, *, open: bool = False) -> None:  # noqa: A002
        """Forgets earlier batches. Unless `open`, batches wait for the gate."""
        cls.gate, cls.begun, cls.seen, cls.cancelled = asyncio.Event(), asyncio.Event(), [], 0
        if open:
            cls.gate.set()

    async def process(self, items: list[Shout]) -> list[Any]:
        texts = [item.text for item in items]
        Shout.seen.append(texts)
        Shout.begun.set()
        try:
            await Shout.gate.wait()
        except asyncio.CancelledError:
            Shout.cancelled += 1
            raise
        if "poison" in texts:
            raise ValueError(f"cannot shout {', '.join(texts)}")
        if "away" in texts:
            raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="node-error", message="the service is away"))
        return [ValueError("bad text") if text == "bad" else text.upper() for text in texts]


class ShoutInThread(Node):
    """Writes texts in capitals in a worker thread, held at a gate."""

    batch = Batch(max=4, within=0)

    gate: ClassVar[threading.Event]
    seen: ClassVar[list[list[str]]] = []

    text: In[str]
    loud: Out[str]

    def process(self, items: list[ShoutInThread]) -> list[str]:
        ShoutInThread.seen.append([item.text for item in items])
        assert ShoutInThread.gate.wait(10)
        return [f"{item.context.component}: {item.text.upper()}" for item in items]


class Pair(Node):
    """Joins two texts of one origin."""

    sync_mode = "join"
    left: In[str]
    right: In[str]
    both: Out[str]

    def process(self, context: Context) -> str:
        return f"{self.left}={self.right}"
