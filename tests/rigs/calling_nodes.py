"""A node type that may have helpers of every kind."""

from __future__ import annotations

from typing import Any, ClassVar

from lanemesh import Context, In, Invokes, Node, Out
from lanemesh.helper_kinds import HELPER_KINDS


class MayCall(Node):
    """May have helpers of every kind, and calls none."""

    invokes: ClassVar = tuple(Invokes(kind, min=0, max=None) for kind in HELPER_KINDS)
    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"out": self.text}
