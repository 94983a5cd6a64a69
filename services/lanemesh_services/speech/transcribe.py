"""`transcribe`: speech to text."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any, ClassVar, Literal

from lanemesh import Audio, Context, Document, In, Inputs, Node, Out, Outputs, Question, Video
from pydantic import Field

from lanemesh_services.speech.loading import Loaded, give_back_engine, imported, take_engine
from lanemesh_services.speech.settings import ReadsAudio

SIZES = ("tiny", "base", "small", "medium", "large-v3", "turbo")
"""Models of OpenAI that a profile selects, from the model hub or its local cache."""


class Transcribe(Node):
    """Transcribes speech with Whisper: texts while audio still arrives, and each final segment with its times.

    Files of any format, the sound of videos and raw samples are read piece by piece, so a recording of any length needs the memory
    of about half a minute. Connect `vad` before it for a conversation: then each utterance is a recording of its own.
    """

    aliases = ("audio_transcribe",)
    profiles: ClassVar = {
        "default": {"model": "whisper-tiny-en"},
        "tiny.en": {"model": "whisper-tiny-en"},
        **{size: {"model": size} for size in SIZES},
    }

    class Config(ReadsAudio):
        """Settings of a transcription."""

        model: str = Field(
            "whisper-tiny-en",
            min_length=1,
            description='Folder of a Whisper model for CTranslate2, a known name such as "whisper-tiny-en", or a name of the hub.',
            json_schema_extra={"format": "path-or-name"},
        )
        language: str | None = Field(
            None, pattern="^[a-z]{2,3}$", description='Language of the speech, such as "en"; null: found out.'
        )
        task: Literal["transcribe", "translate"] = Field(
            "transcribe", description="translate: to English, with a model of several languages."
        )
        prompt: str = Field("", max_length=1_000, description="Names and words that occur, for their spelling.")
        beam_size: int = Field(
            1, ge=1, le=10, description="Alternatives that are followed; more are slower and better."
        )
        interval: float = Field(
            1.0, ge=0.2, le=30, description="Seconds of new audio between two partial texts, where these are connected."
        )
        eager: bool = Field(
            True,
            description="Transcribe where the speaker pauses, as vad marks it, so that the text is ready at the end.",
        )
        skip_silence: bool = Field(True, description="Leave out parts without speech before they reach the model.")
        device: Literal["auto", "cpu", "cuda"] = Field(
            "auto", description="Where the model runs; auto: a GPU if there is one."
        )
        threads: int | None = Field(None, ge=1, le=64, description="Threads on a CPU; null: half of the CPUs.")

    pip_extra = "speech"
    python_packages = ("faster_whisper", "av", "numpy")

    audio: Annotated[In[Audio], "Files, pieces of files, or raw samples."] = None  # type: ignore[assignment]
    video: Annotated[In[Video], "Videos, of which the sound is transcribed."] = None  # type: ignore[assignment]
    text: Annotated[Out[str], "The final texts of a recording, segment by segment; together they are its text."]
    documents: Annotated[
        Out[Document], "Each segment, with `start` and `end` in seconds, `language` and `recording` in its metadata."
    ]
    questions: Annotated[Out[Question], "The text of each recording as a question, when it has ended."]
    partials: Annotated[
        Out[dict[str, Any]],
        'Texts that may still change: {"text": ..., "start": seconds, "end": seconds, "recording": number}.',
    ]

    @classmethod
    async def load(cls, config: Any) -> Loaded:
        """The model, and the key under which components share it."""
        module = await imported("transcription", library="faster-whisper", provider="transcribe")
        key = (config.model, config.device, config.threads)
        return Loaded(await take_engine(key, lambda: module.Whisper(*key)), key, module)

    @classmethod
    async def unload(cls, resource: Loaded) -> None:
        """Frees the model, unless another component uses it."""
        await give_back_engine(resource.key)

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each text when it is known."""
        loaded: Loaded = self.resource
        transcription = loaded.module.Transcription(self.config, context, inputs, loaded.engine)
        async with aclosing(transcription.results()) as results:
            async for port, value, envelope in results:
                if port in context.connected_outputs:
                    await outputs.emit(port, value, envelope)
