"""`audio_tts`: text to speech."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from lanemesh import Answer, Audio, Context, In, Inputs, Json, Node, Out, Outputs
from pydantic import BaseModel, Field

from lanemesh_services.speech.loading import Loaded, give_back_engine, imported, take_engine
from lanemesh_services.speech.voices import VoiceSettings, open_voice


class AudioTts(Node):
    """Speaks text sentence by sentence, while the text still streams in.

    The first clause is spoken as soon as it is there. The sound of one text or answer is a group; the pieces of each sentence carry
    its place in time, and the sentence as metadata `text`. Marks of Markdown are not spoken.
    """

    profiles: ClassVar = {
        "default": {"engine": "piper"},
        "piper": {"engine": "piper"},
        "espeak": {"engine": "espeak"},
        "kokoro": {"engine": "kokoro"},
    }

    class Config(BaseModel):
        """Settings of a voice."""

        engine: Literal["piper", "espeak", "kokoro"] = Field(
            "piper",
            description="piper and kokoro: neural voices in files; espeak: the program espeak-ng, quick and plain.",
        )
        model: str | None = Field(
            None,
            min_length=1,
            description="piper: the voice's .onnx file or a known name, piper-joe-us by default; kokoro: its .onnx file.",
            json_schema_extra={"format": "path-or-name"},
        )
        voices: str | None = Field(
            None, description="kokoro: the file with its voices.", json_schema_extra={"format": "path"}
        )
        voice: str | None = Field(
            None,
            pattern=r"^[A-Za-z0-9_+.-]{1,64}$",
            description='espeak: a language or voice, such as "en-us" or "de"; kokoro: a voice, such as "af_heart".',
        )
        kokoro_voice: str | None = Field(
            None, pattern=r"^[A-Za-z0-9_+.-]{1,64}$", description="The voice of kokoro, where `voice` is not set."
        )
        speaker: int | None = Field(
            None, ge=0, le=10_000, description="piper: the speaker of a voice that has several."
        )
        variation: float = Field(
            0.0,
            ge=0,
            le=2,
            description="piper: variation of sound and rhythm; 0: the same each time, 1: that of the voice.",
        )
        speed: float = Field(1.0, ge=0.5, le=2.0, description="Speed of the speech; 1: that of the voice.")
        pause: float = Field(0.2, ge=0, le=5, description="Seconds of silence between two sentences.")
        first_clause: bool = Field(
            True, description="Speak the first clause of a text before its sentence is complete."
        )
        format: Literal["mp3", "wav", "pcm"] = Field(
            "mp3",
            description="mp3: every piece can be played; wav: the pieces are one file; pcm: raw samples of 16 bits.",
        )
        threads: int | None = Field(None, ge=1, le=64, description="Threads of piper; null: half of the CPUs.")

    pip_extra = "speech"
    python_packages = ("av", "numpy")

    text: Annotated[In[str], "What is spoken: texts, or the pieces of texts."] = None  # type: ignore[assignment]
    answers: Annotated[In[Answer], "Answers to speak, while they are generated."] = None  # type: ignore[assignment]
    interrupt: Annotated[
        In[Json],
        'The marks of `vad`: {"event": "start"} ends the speech that was begun, and nothing is spoken until {"event": "end"}. '
        '{"event": "stop"} ends the speech that was begun. Others are ignored.',
    ] = None
    speech: Annotated[Out[Audio], "The pieces of the speech, with their times from its begin."]

    @classmethod
    async def load(cls, config: Any) -> Loaded:
        """The voice, and the key under which components share it."""
        module = await imported("speaking", library="av", provider="audio_tts")
        settings = VoiceSettings(
            engine=config.engine,
            model=config.model,
            voices=config.voices,
            voice=config.voice or (config.kokoro_voice if config.engine == "kokoro" else None),
            speaker=config.speaker,
            variation=config.variation,
            threads=config.threads,
        )
        return Loaded(await take_engine(settings, lambda: open_voice(settings)), settings, module)

    @classmethod
    async def unload(cls, resource: Loaded) -> None:
        """Frees the voice, unless another component uses it."""
        await give_back_engine(resource.key)

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Speaks until the inputs have ended, and all that they brought."""
        loaded: Loaded = self.resource
        await loaded.module.Speaker(self.config, context, inputs, loaded.engine).run(outputs)
