"""Decides from the probabilities of short chunks where speech begins and ends. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

HYSTERESIS = 0.15
"""Speech goes on while its probability is above the threshold less this."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """When speech begins and ends, in chunks."""

    threshold: float
    least_speech: int
    """Chunks of speech in sequence that begin an utterance."""
    least_silence: int
    """Chunks of silence in sequence that end one."""
    padding: int
    """Chunks before its begin and after its last speech that belong to it."""
    most_speech: int
    """Chunks after which it is split."""


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """An utterance begins at this chunk, counted from 0."""

    chunk: int


@dataclass(frozen=True, slots=True)
class SpeechWent:
    """A chunk of the utterance."""

    chunk: int
    samples: Any
    pauses: bool
    """It is the last one before a possible end."""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The utterance has ended before this chunk."""

    chunk: int


GateEvent = SpeechBegan | SpeechWent | SpeechEnded


class SpeechGate:
    """Finds the utterances of one recording. It holds back at most the chunks that may begin or end an utterance."""

    def __init__(self, settings: GateSettings) -> None:
        self._settings = settings
        self._chunk = 0
        self._before: deque[tuple[int, Any]] = deque(maxlen=settings.padding + settings.least_speech)
        self._run = 0
        self._silence = 0
        self._held: list[tuple[int, Any]] = []
        self._length = 0
        self.speaking = False
        """An utterance is open."""

    def push(self, probability: float, samples: Any) -> list[GateEvent]:
        """Adds a chunk with the probability of speech in it; returns what is decided by it."""
        chunk, self._chunk = self._chunk, self._chunk + 1
        if self.speaking:
            return self._speaking(chunk, probability, samples)
        self._before.append((chunk, samples))
        self._run = self._run + 1 if probability >= self._settings.threshold else 0
        return self._begin() if self._run >= self._settings.least_speech else []

    def finish(self) -> list[GateEvent]:
        """Ends the recording; returns the end of an open utterance."""
        events: list[GateEvent] = []
        if not self.speaking and self._run:  # speech that is cut off by the end
            events += self._begin()
        if self.speaking:
            events.append(SpeechEnded(self._chunk - len(self._held)))
            self._close()
        return events

    def _begin(self) -> list[GateEvent]:
        first = self._before[0][0]
        events: list[GateEvent] = [SpeechBegan(first)]
        events += [SpeechWent(chunk, samples, False) for chunk, samples in self._before]
        self._length = len(self._before)
        self._before.clear()
        self.speaking, self._silence, self._run = True, 0, 0
        return events

    def _speaking(self, chunk: int, probability: float, samples: Any) -> list[GateEvent]:
        settings = self._settings
        self._length += 1
        self._held.append((chunk, samples))
        events: list[GateEvent] = []
        if probability >= settings.threshold - HYSTERESIS:
            self._silence = 0
            events += self._release(len(self._held))
        else:
            self._silence += 1
            if self._silence <= settings.padding:
                events += self._release(len(self._held), pauses=self._silence == settings.padding)
        if self._silence >= settings.least_silence:
            events.append(SpeechEnded(chunk + 1 - len(self._held)))
            self._close()
        elif self._length >= settings.most_speech:
            events += [*self._release(len(self._held)), SpeechEnded(chunk + 1), SpeechBegan(chunk + 1)]
            self._length = self._silence = 0
        return events

    def _release(self, count: int, *, pauses: bool = False) -> list[GateEvent]:
        taken, self._held = self._held[:count], self._held[count:]
        return [
            SpeechWent(chunk, samples, pauses and place == len(taken) - 1)
            for place, (chunk, samples) in enumerate(taken)
        ]

    def _close(self) -> None:
        """The held chunks, which are silence, precede the next utterance."""
        self._before.extend(self._held)
        self._held, self._silence, self._run, self.speaking = [], 0, 0, False
