"""The handler of objects.pipe."""

from __future__ import annotations

from typing import Any

from lanemesh import Context, In, Node, Out


class Waiter(Node):
    """Handles each order when its last brace has arrived."""

    order: In[dict[str, Any]]
    said: Out[str]

    def process(self, context: Context) -> dict[str, str]:
        return {"said": f"{self.order['count']} x {self.order['dish']}, right away"}
