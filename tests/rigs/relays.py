"""Node types of the load: what passes items on, and may be placed again where its server is lost."""

from __future__ import annotations

from lanemesh import Context, In, Node, Out


class Relay(Node):
    """Passes text on."""

    restartable = True

    text: In[str]
    passed: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        return {"passed": self.text}
