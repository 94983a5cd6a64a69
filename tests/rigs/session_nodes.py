"""Nodes that report the session of their run, here and in a process of their own."""

from __future__ import annotations

from typing import ClassVar

from lanemesh import Context, In, Node, Out


class Teller(Node):
    """Reports the session of its run."""

    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        return {"out": f"{self.text} {context.session}"}


class IsolatedTeller(Node):
    """The same, in a process of its own."""

    isolation: ClassVar = "process"
    text: In[str]
    out: Out[str]

    def process(self, context: Context) -> dict[str, str]:
        return {"out": f"{self.text} {context.session}"}
