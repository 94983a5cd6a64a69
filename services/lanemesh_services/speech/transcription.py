"""Transcribes recordings while they arrive: partial texts, and final segments."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import numpy as np
from lanemesh import Context, Document, Envelope, Group, Inputs, Question
from lanemesh.extend import ABSENT, in_thread

from lanemesh_services.speech.decoding import Target
from lanemesh_services.speech.recordings import Began, Ended, Heard, Paused, Recording, Recordings
from lanemesh_services.speech.whisper import RATE, Segment, Whisper

WINDOW = 30 * RATE
"""Samples that the model takes at once."""
LEAST = RATE // 10
"""Samples of new audio that are worth a transcription."""
LEAD = 1.0
"""A recording is live while at most this many seconds of it have arrived before they can have been spoken."""
KEPT_SILENCE = RATE
"""Samples that are kept of a window without speech: a word may begin in them."""

Result = tuple[str, Any, Envelope | None]
"""An output, a value, and its envelope."""


class Transcription:
    """The transcription of the recordings of one component in one run."""

    def __init__(self, config: Any, context: Context, inputs: Inputs, whisper: Whisper) -> None:
        self.config = config
        self.context = context
        self.whisper = whisper
        self._recordings = Recordings(context, inputs, Target(RATE, 1), ports=("audio", "video"), skip=config.skips)
        self._texts: dict[int, _Text] = {}
        self._seconds = 0.0

    async def results(self) -> AsyncGenerator[Result, None]:
        """What the node sends, in order.

        Raises:
            AudioUnusable: a recording cannot be decoded, and is not left out.
            ModelUnusable: the model cannot do what is set.
        """
        async with aclosing(self._recordings.events()) as events:
            async for event in events:
                for result in await self._handled(event):
                    yield result

    async def _handled(self, event: Any) -> list[Result]:
        match event:
            case Began(recording):
                self._texts[recording.number] = _Text(self, recording)
            case Heard(recording, samples, start):
                self._seconds += len(samples) / RATE
                self.context.progress(self._seconds, 0, f"{self._seconds:.0f} s transcribed")
                return await self._texts[recording.number].heard(samples, start)
            case Paused(recording):
                text = self._texts[recording.number]
                if self.config.eager and text.is_live:
                    return await text.ahead()
            case Ended(recording):
                return await self._texts.pop(recording.number).ended()
        return []


class _Text:
    """The text of one recording."""

    def __init__(self, transcription: Transcription, recording: Recording) -> None:
        self._of = transcription
        self._recording = recording
        self._samples: Any = np.zeros(0, dtype=np.float32)
        self._start = recording.start
        self._began = time.monotonic()
        self._known: list[Segment] = []
        """The segments of the samples that were there at the last transcription."""
        self._known_count = 0
        self._language = ""
        self._count = 0
        self._said: list[str] = []
        self._partial = ""

    @property
    def new(self) -> int:
        """Samples since the last transcription."""
        return len(self._samples) - self._known_count

    @property
    def is_live(self) -> bool:
        """It is spoken while it arrives; of a file the whole is there soon, so that its parts need not be transcribed before."""
        return self._recording.seconds <= time.monotonic() - self._began + LEAD

    async def heard(self, samples: Any, start: float) -> list[Result]:
        """Adds a block of samples."""
        if not len(self._samples):
            self._start = start
        self._samples = np.concatenate([self._samples, samples[:, 0].astype(np.float32) / 32768.0])
        results: list[Result] = []
        while len(self._samples) >= WINDOW:
            results += await self._window()
        wants_partials = "partials" in self._of.context.connected_outputs
        if wants_partials and self.new >= self._of.config.interval * RATE:
            results += await self.ahead()
        return results

    async def ahead(self) -> list[Result]:
        """Transcribes what is there before the recording has ended; returns the partial text if it is new."""
        if self.new < LEAST:
            return []
        await self._transcribe(len(self._samples))
        text = " ".join(segment.text for segment in self._known)
        if not text or text == self._partial:
            return []
        self._partial = text
        times = {"start": self._time(self._known[0].start), "end": self._time(self._known[-1].end)}
        return [("partials", {"text": text, **times, "recording": self._recording.number}, None)]

    async def ended(self) -> list[Result]:
        """The rest of the text, and the end of it."""
        recording = self._recording
        if self.new and (len(self._samples) > self.new or len(self._samples) >= LEAST):
            await self._transcribe(len(self._samples))
        results = self._finals(self._known)
        if self._said:
            last = Group(self._group, self._count, last=True, outcome=recording.outcome)
            results.append(("text", ABSENT, Envelope(group=last)))
            if recording.ok:
                results.append(("questions", Question(" ".join(self._said)), None))
        elif recording.ok:
            self._of.context.log.warning("%s: no speech in %.1f s of audio", recording.place, recording.seconds)
        return results

    async def _window(self) -> list[Result]:
        """Transcribes a full window. Its last segment, which may go on, is left for the next one."""
        await self._transcribe(WINDOW)
        whole = self._known[:-1] if len(self._known) > 1 else self._known
        results = self._finals(whole)
        end = round(whole[-1].end * RATE) if whole else WINDOW - KEPT_SILENCE
        drop = max(RATE, min(WINDOW, end))
        self._samples = self._samples[drop:]
        self._start += drop / RATE
        self._known, self._known_count = [], 0
        return results

    async def _transcribe(self, count: int) -> None:
        of = self._of
        self._known, language = await in_thread(of.whisper.segments, self._samples[:count], of.config)
        self._language = language or self._language
        self._known_count = count

    def _finals(self, segments: list[Segment]) -> list[Result]:
        results: list[Result] = []
        for segment in segments:
            times = {"start": self._time(segment.start), "end": self._time(segment.end)}
            metadata = {**times, "language": self._language, "recording": self._recording.number}
            text = segment.text if not self._said else f" {segment.text}"
            results.append(("text", text, Envelope(group=Group(self._group, self._count))))
            document = Document(
                segment.text,
                id=f"{self._recording.number}-{self._count}",
                source=self._recording.source,
                chunk_index=self._count,
                metadata=metadata,
            )
            results.append(("documents", document, None))
            self._said.append(segment.text)
            self._count += 1
        return results

    @property
    def _group(self) -> str:
        return f"{self._of.context.component}.{self._recording.number}"

    def _time(self, seconds: float) -> float:
        return round(self._start + seconds, 3)
