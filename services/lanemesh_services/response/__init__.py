"""The `response` service: delivers its items to the client."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from lanemesh import Context, In, Inputs, Node, Outputs, Service
from pydantic import BaseModel, Field

Lane = Literal[
    "text", "questions", "answers", "documents", "table", "tags", "image", "audio", "video", "data"
]  # the names of the lane types

_RESPONSES: dict[str, Lane] = {
    "text": "text",
    "questions": "questions",
    "answers": "answers",
    "documents": "documents",
    "table": "table",
    "image": "image",
    "audio": "audio",
    "video": "video",
    "json": "data",
}
"""Names of RocketRide's node types, such as response_text, with the lane of each."""


class Response(Node):
    """Delivers its items to the client, each when it arrives."""

    boundary = "target"
    aliases = tuple(f"response_{name}" for name in _RESPONSES)
    profiles: ClassVar = {f"response_{name}": {"lane": lane} for name, lane in _RESPONSES.items()}

    class Config(BaseModel):
        """Settings of a response."""

        lane: Lane | None = Field(None, description="Type of the lane that it accepts; default: every connected lane.")
        result_name: str = Field(
            "",
            max_length=128,
            description="The key of what it delivers in results, beside its id; default: only its id.",
            json_schema_extra={"format": "result-name"},
        )
        laneName: str = Field(
            "",
            max_length=128,
            description="The same as result_name; documents of RocketRide call it so.",
            json_schema_extra={"format": "result-name"},
        )

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
