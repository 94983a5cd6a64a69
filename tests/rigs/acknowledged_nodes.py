"""A source whose progress can be seen from outside, for tests of clients that do not read."""

from __future__ import annotations

from collections.abc import AsyncIterator

from lanemesh import In, Node, Out
from pydantic import BaseModel

ENDLESS = 1_000_000
"""Far more items than any bound lets through."""


class AckSource(Node):
    """Emits numbered texts, and notes how many it has emitted."""

    class Config(BaseModel):
        journal: str
        size: int = 1
        count: int = ENDLESS

    config: Config
    text: In[str]
    texts: Out[str]

    async def gen_process(self, text: str) -> AsyncIterator[tuple[str, str]]:
        with open(self.config.journal, "ab", buffering=0) as journal:  # noqa: ASYNC230 - a byte each
            for number in range(self.config.count):
                journal.write(b".")
                yield "texts", f"{number} ".ljust(self.config.size, "x")
