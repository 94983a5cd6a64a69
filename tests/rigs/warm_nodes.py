"""A node type that takes its time to load and notes what it loads, for the tests of deployed pipelines; node servers load this file
as well."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from lanemesh import Context, In, Node, Out
from pydantic import BaseModel


def note(journal: str, line: str) -> None:
    """Appends a line to a journal."""
    if journal:
        with Path(journal).open("a") as file:
            file.write(f"{line}\n")


class Model(Node):
    """Loads a mark, and puts it before each text."""

    class Config(BaseModel):
        mark: str = ""
        journal: str = ""
        seconds: float = 0.0
        broken: bool = False

    text: In[str]
    marked: Out[str]

    @classmethod
    async def load(cls, config: Any) -> str:
        note(config.journal, f"loading {config.mark}")
        await asyncio.sleep(config.seconds)
        if config.broken:
            raise RuntimeError(f"there is no model {config.mark}")
        note(config.journal, f"loaded {config.mark}")
        return str(config.mark)

    async def process(self, context: Context) -> dict[str, Any]:
        return {"marked": self.resource + self.text}
