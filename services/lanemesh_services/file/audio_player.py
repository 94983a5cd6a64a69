"""`audio_player`: delivers audio to the client, which plays it."""

from __future__ import annotations

from lanemesh import Audio, Context, In, Inputs, Node, Outputs
from pydantic import BaseModel, Field


class AudioPlayer(Node):
    """Delivers audio to the client: the page plays it, and `lanemesh run` writes it into a file."""

    boundary = "target"

    class Config(BaseModel):
        """Settings of the result."""

        result_name: str = Field(
            "",
            max_length=128,
            description="The key of what it delivers in results, beside its id; default: only its id.",
            json_schema_extra={"format": "result-name"},
        )

    audio: In[Audio]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Delivers each piece of audio when it arrives; waits for a slow client."""
        client, component = context.client, context.component
        async for port, taken in inputs.batches(client.capacity):
            if not isinstance(taken, list):
                client.deliver(component, port, "audio", taken)
