"""The `response` service: delivers its items to the client."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from lanemesh import Context, In, Inputs, Node, Outputs, Service
from pydantic import BaseModel, Field

Lane = Literal[
    "text", "questions", "answers", "documents", "table", "tags", "image", "audio", "video", "data"
]  # the names of the lane types

_RESPONSES = ("text", "questions", "answers", "documents", "table", "image", "audio", "video")
"""Lanes with a node type of their own in RocketRide."""


class Response(Node):
    """Delivers its items to the client, each when it arrives."""

    boundary = "target"
    aliases = tuple(f"response_{lane}" for lane in _RESPONSES)
    profiles: ClassVar = {f"response_{lane}": {"lane": lane} for lane in _RESPONSES}

    class Config(BaseModel):
        """Settings of a response."""

        lane: Lane | None = Field(None, description="Type of the lane that it accepts; default: every connected lane.")

    items: In[Any]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Delivers every item; waits for a slow client. Its inputs are named after their lanes."""
        client, component = context.client, context.component
        async for port, taken in inputs.batches(client.capacity, texts=["text"]):
            if isinstance(taken, list):
                client.deliver_texts(component, port, taken)
            else:
                client.deliver(component, port, port, taken)


SERVICE = Service("response", [Response])
