"""The handler of objects.pipe."""

from __future__ import annotations

from typing import Any

from lanemesh import node


@node
def waiter(order: dict[str, Any]) -> str:
    """Handles each order when its last brace has arrived."""
    return f"{order['count']} x {order['dish']}, right away"
