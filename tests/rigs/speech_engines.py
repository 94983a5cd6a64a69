"""Engines of speech for tests: a transcriber that hears tones, and a voice that makes them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from lanemesh_services.speech import speaking, transcription
from lanemesh_services.speech.audio_tts import AudioTts
from lanemesh_services.speech.errors import speech_failed
from lanemesh_services.speech.loading import Loaded
from lanemesh_services.speech.transcribe import Transcribe
from lanemesh_services.speech.whisper import Segment

RATE = 16_000


class ToneHearer:
    """Hears each second of tone as one segment with the number of the call and the second; silence is nothing."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        """Samples of each call."""

    def segments(self, samples: Any, config: Any) -> tuple[list[Segment], str]:
        """One segment for each second that has a tone."""
        self.lengths.append(len(samples))
        found = []
        for second in range(len(samples) // RATE):
            part = samples[second * RATE : (second + 1) * RATE]
            if np.abs(part).max() > 0.1:
                found.append(Segment(second, second + 1, f"tone {round(float(np.abs(part).max()) * 100)}"))
        return found, "en"


class TranscribeTones(Transcribe):
    """`transcribe` with `ToneHearer`."""

    hearer = ToneHearer()

    @classmethod
    async def load(cls, config: Any) -> Loaded:
        """The hearer."""
        return Loaded(cls.hearer, "tones", transcription)

    @classmethod
    async def unload(cls, resource: Loaded) -> None:
        """Nothing."""


class ToneVoice:
    """Speaks each word as a tenth of a second of sound; it fails at the word "fail", and pauses at "wait" until `go` is set."""

    def __init__(self) -> None:
        self.spoken: list[str] = []
        self.waits = threading.Event()
        self.go = threading.Event()

    def speak(self, text: str, speed: float) -> Iterator[tuple[Any, int]]:
        """One part."""
        self.spoken.append(text)
        if "wait" in text:
            self.waits.set()
            assert self.go.wait(30)
        if "fail" in text:
            raise speech_failed(f'the sentence "{text}"', "the voice failed", "Use another voice.")
        if "nothing" not in text:
            yield np.full((len(text.split()) * RATE // 10, 1), 1_000, dtype=np.int16), RATE

    def close(self) -> None:
        """Nothing is freed."""


class SpeakTones(AudioTts):
    """`audio_tts` with `ToneVoice`."""

    voice = ToneVoice()

    @classmethod
    async def load(cls, config: Any) -> Loaded:
        """The voice."""
        return Loaded(cls.voice, "tones", speaking)

    @classmethod
    async def unload(cls, resource: Loaded) -> None:
        """Nothing."""
