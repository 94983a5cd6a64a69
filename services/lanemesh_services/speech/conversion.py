"""Converts recordings, each to the pieces of one file."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from lanemesh import Audio, Context, Envelope, Group, Inputs
from lanemesh.extend import ABSENT, in_thread

from lanemesh_services.speech.decoding import Target
from lanemesh_services.speech.encoding import Encoder, encoder, with_length
from lanemesh_services.speech.recordings import Began, Ended, Heard, Recording, Recordings

Piece = tuple[Any, Envelope]
"""A piece, or ABSENT, with its envelope."""


async def converted(config: Any, context: Context, inputs: Inputs) -> AsyncGenerator[Piece, None]:
    """The pieces of all recordings of a component, by its settings. Raises what `Recordings.events` raises."""
    target = Target(config.rate, config.channels)
    recordings = Recordings(context, inputs, target, ports=("audio", "video"), skip=config.skips)
    files: dict[int, _File] = {}
    async with aclosing(recordings.events()) as events:
        async for event in events:
            match event:
                case Began(recording):
                    files[recording.number] = _File(config, f"{context.component}.{recording.number}", recording)
                case Heard(recording, samples, start):
                    for piece in await in_thread(files[recording.number].push, samples, start):
                        yield piece
                case Ended(recording):
                    for piece in await in_thread(files.pop(recording.number).finish):
                        yield piece


class _File:
    """One converted recording."""

    def __init__(self, config: Any, group: str, recording: Recording) -> None:
        self._config = config
        self._group = group
        self._recording = recording
        self._encoder: Encoder | None = None
        self._held = b""
        self._held_samples = 0
        self._start = 0.0
        self._index = 0

    def push(self, samples: Any, start: float) -> list[Piece]:
        """Adds samples; returns a piece if it is long enough."""
        recording, config = self._recording, self._config
        if self._encoder is None:
            self._encoder = encoder(config.format, recording.rate, recording.channels, config.bitrate)
        if not self._held_samples:
            self._start = start
        self._held += self._encoder.push(samples)
        self._held_samples += len(samples)
        if not self._held or self._held_samples < config.piece * recording.rate:
            return []
        return [self._piece(last=False)]

    def finish(self) -> list[Piece]:
        """The last piece; none if there was no sample. The group of a recording that is not whole has its outcome."""
        if self._encoder is None:
            return []
        self._held += self._encoder.finish()
        if not self._recording.ok:
            last = Group(self._group, self._index, last=True, outcome=self._recording.outcome)
            return [(ABSENT, Envelope(group=last))]
        if not self._held:
            return [(ABSENT, Envelope(group=Group(self._group, self._index, last=True)))]
        return [self._piece(last=True)]

    def _piece(self, *, last: bool) -> Piece:
        assert self._encoder is not None
        content = self._held
        if last and not self._index and self._config.format == "wav":
            content = with_length(content)
        piece = Audio(
            mime_type=self._encoder.mime_type,
            content=content,
            timestamp=self._start,
            rate=float(self._encoder.rate),
            channels=self._recording.channels,
        )
        envelope = Envelope(group=Group(self._group, self._index, last=last))
        self._held, self._held_samples = b"", 0
        self._index += 1
        return piece, envelope
