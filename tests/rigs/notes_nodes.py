"""Nodes of the kind of helper that `rigs.notes_kind` adds: a notebook, and a node that calls it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from lanemesh import Context, In, Invokes, Node, Out


class Notebook(Node):
    """Keeps notes."""

    offers: ClassVar = ("notes",)
    resource: dict[str, str]

    @classmethod
    async def load(cls, config: Any) -> dict[str, str]:
        """The texts by their titles."""
        return {}

    def write(self, context: Context, title: str, text: str) -> bool:
        """Keeps a note."""
        replaced = title in self.resource
        self.resource[title] = text
        return replaced

    async def read(self, context: Context) -> AsyncGenerator[tuple[str, str], None]:
        """All titles and texts."""
        for note in self.resource.items():
            yield note


class Student(Node):
    """Writes each text down, and reads all notes."""

    invokes: ClassVar = (Invokes("notes"),)
    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        """Reports what its notebook says."""
        notes = context.helper("notes")
        replaced = [await notes.write("a", self.text), await notes.write("b", self.text)]
        return {"out": f"{replaced} {await notes.read()} {len(context.helpers('notes'))}"}
