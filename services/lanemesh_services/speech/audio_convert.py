"""`audio_convert`: converts audio to another format, rate and number of channels."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any, ClassVar, Literal

from lanemesh import Audio, Context, In, Inputs, Node, Out, Outputs, Video
from pydantic import Field

from lanemesh_services.speech.loading import imported
from lanemesh_services.speech.settings import ReadsAudio


class AudioConvert(Node):
    """Converts audio to WAV, MP3, Opus or raw samples, to another rate, to mono or stereo, piece by piece.

    Files of any format, the sound of videos and raw samples are read. The pieces of a converted recording are a group; together
    they are one file. A recording of any length needs the memory of some seconds.
    """

    profiles: ClassVar = {
        "speech": {"format": "pcm", "rate": 16_000, "channels": 1},
        "web": {"format": "mp3", "channels": 1},
    }

    class Config(ReadsAudio):
        """Settings of a conversion."""

        format: Literal["pcm", "wav", "mp3", "opus"] = Field(
            "wav", description="pcm: raw samples of 16 bits, little-endian; opus: in Ogg."
        )
        rate: int | None = Field(None, ge=8_000, le=192_000, description="Samples a second; null: those of the source.")
        channels: Literal[1, 2] | None = Field(None, description="1: mono, 2: stereo; null: as the source, at most 2.")
        bitrate: int | None = Field(
            None, ge=6_000, le=320_000, description="Bits a second of mp3 and opus; null: what the codec selects."
        )
        piece: float = Field(
            1.0, ge=0.02, le=60, description="Least length of a piece in seconds, except the last one."
        )

    pip_extra = "speech"
    python_packages = ("av", "numpy")

    audio: Annotated[In[Audio], "Files, pieces of files, or raw samples."] = None  # type: ignore[assignment]
    video: Annotated[In[Video], "Videos, of which the sound is converted."] = None  # type: ignore[assignment]
    converted: Annotated[Out[Audio], "The pieces of each converted recording."]

    @classmethod
    async def load(cls, config: Any) -> Any:
        """The module that converts: it needs the libraries."""
        return await imported("conversion", library="av", provider="audio_convert")

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each piece when it is encoded."""
        async with aclosing(self.resource.converted(self.config, context, inputs)) as pieces:
            async for piece, envelope in pieces:
                await outputs.emit("converted", piece, envelope)
