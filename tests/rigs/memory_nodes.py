"""Nodes of the kind of helper that `rigs.memory_kind` adds: a memory, and a node that calls it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from lanemesh import Context, In, Invokes, Node, Out


class Notebook(Node):
    """A memory."""

    offers: ClassVar = ("memory",)
    resource: dict[str, str]

    @classmethod
    async def load(cls, config: Any) -> dict[str, str]:
        """The values by their keys."""
        return {}

    def put(self, context: Context, key: str, value: str) -> bool:
        """Keeps a value."""
        replaced = key in self.resource
        self.resource[key] = value
        return replaced

    async def entries(self, context: Context) -> AsyncGenerator[tuple[str, str], None]:
        """All keys and values."""
        for entry in self.resource.items():
            yield entry


class Student(Node):
    """Keeps each text in its memory, and lists them all."""

    invokes: ClassVar = (Invokes("memory"),)
    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        """Reports what its memory says."""
        memory = context.helper("memory")
        replaced = [await memory.put("a", self.text), await memory.put("b", self.text)]
        return {"out": f"{replaced} {await memory.entries()} {len(context.helpers('memory'))}"}
