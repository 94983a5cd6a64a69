"""Reads an input of audio as recordings: each a file, or the pieces of one, decoded step by step in worker threads."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from lanemesh import Context, Group, Inputs, Media
from lanemesh.extend import ABSENT, FILE_NAME, GroupOutcome, Item, in_thread

from lanemesh_services.speech.decoding import (
    Converter,
    PcmDecoder,
    PcmForm,
    Target,
    file_blocks,
    is_complete_wav,
    missing_wav_bytes,
)
from lanemesh_services.speech.errors import AudioUnusable, empty_audio, not_included, too_many_recordings
from lanemesh_services.speech.piped import PipedDecoder

PAUSE = "pause"
"""Metadata of a piece after which the speaker pauses."""
MAX_OPEN = 32
"""Recordings whose pieces may arrive at the same time."""


class Decoder(Protocol):
    """Decodes the pieces of one recording."""

    @property
    def rate(self) -> int:
        """Rate of its blocks."""

    @property
    def channels(self) -> int:
        """Channels of its blocks."""

    def push(self, content: bytes) -> Iterator[Any]:
        """The blocks that are ready after a piece."""

    def finish(self) -> Iterator[Any]:
        """The rest of the blocks."""


@dataclass(slots=True)
class Recording:
    """One recording, as far as it has arrived."""

    number: int
    """Its place in the order of arrival, from 1."""
    place: str
    """What it is, for messages."""
    source: str
    """Name of its file; what it is if it has none."""
    start: float = 0.0
    """Time of its first sample in seconds."""
    rate: int = 0
    """Samples a second."""
    channels: int = 0
    """Channels of its blocks."""
    count: int = 0
    """Samples so far."""
    outcome: GroupOutcome = GroupOutcome.OK
    """How it ended, if an error that was left out, or its producer, has ended it before its end; otherwise OK."""
    decoder: Decoder | None = field(default=None, repr=False)
    """The decoder of its pieces, once it has any."""

    @property
    def ok(self) -> bool:
        """Nothing has ended it before its end."""
        return self.outcome is GroupOutcome.OK

    @property
    def seconds(self) -> float:
        """Its length so far."""
        return self.count / self.rate if self.rate else 0.0


@dataclass(frozen=True, slots=True)
class Began:
    """A recording begins."""

    recording: Recording


@dataclass(frozen=True, slots=True)
class Heard:
    """A block of a recording."""

    recording: Recording
    samples: Any
    """int16, one row per sample, one column per channel; at most about a second."""
    start: float
    """Time of the first sample in seconds."""


@dataclass(frozen=True, slots=True)
class Paused:
    """The speaker of a recording pauses: its producer has marked the piece before this."""

    recording: Recording


@dataclass(frozen=True, slots=True)
class Ended:
    """A recording has ended; its `outcome` says how. What is made of one that is not whole has the same outcome."""

    recording: Recording


@dataclass(frozen=True, slots=True)
class Other:
    """An item of another input."""

    port: str
    item: Item


Event = Began | Heard | Paused | Ended | Other


class Recordings:
    """The recordings of a node's inputs of audio and video.

    A file without a group is a recording, and so are the pieces of a group. Raw samples without a group are one recording until
    the end of the input, or until their form changes.
    """

    def __init__(
        self, context: Context, inputs: Inputs, target: Target, *, ports: tuple[str, ...] = ("audio",), skip: bool
    ) -> None:
        """`target`: what samples are converted to. `ports`: the inputs of audio. `skip`: leave out what cannot be decoded, with a
        warning; otherwise it is an error."""
        self._context = context
        self._inputs = inputs
        self._target = target
        self._ports = ports
        self._skip = skip
        self._open: dict[tuple[str, str | None], Recording] = {}
        self._number = 0

    async def events(self) -> AsyncGenerator[Event, None]:
        """What happens at the inputs, in order of arrival. Every recording that begins ends, unless an error is raised.

        Raises:
            AudioUnusable: a recording cannot be decoded, and is not left out.
            LanemeshError: too many recordings are open ("too-many-recordings").
        """
        try:
            async for port, item in self._inputs.iter_items():
                if port not in self._ports:
                    yield Other(port, item)
                    continue
                async for event in self._item(port, item):
                    yield event
            for key in list(self._open):
                async for event in self._end(key):
                    yield event
        finally:
            for recording in self._open.values():
                if isinstance(recording.decoder, PipedDecoder):
                    recording.decoder.close()

    async def _item(self, port: str, item: Item) -> AsyncGenerator[Event, None]:
        group = item.envelope.group if item.envelope is not None else None
        key = (port, group.id if group is not None else None)
        if item.value is not ABSENT:
            async for event in self._media(key, item.value, _file_name(item)):
                yield event
        if item.envelope is not None and PAUSE in (item.envelope.metadata or ()) and key in self._open:
            yield Paused(self._open[key])
        if group is not None and group.last and key in self._open:
            self._note_outcome(key, group)
            async for event in self._end(key):
                yield event

    async def _media(self, key: tuple[str, str | None], media: Media, name: str) -> AsyncGenerator[Event, None]:
        form, problem = None, None
        try:
            form = PcmForm.of(media, _place(self._number + 1, media, name))
        except AudioUnusable as error:
            problem = error
        if key[1] is None and form is None:
            key = (key[0], "")  # a file of its own
        recording = self._open.get(key)
        if recording is not None and key[1] is None and problem is None and _has_other_form(recording, form):
            async for event in self._end(key):
                yield event
            recording = None
        if recording is None:
            recording = self._begin(key, media, name)
            yield Began(recording)
        if recording.ok:
            steps = self._refused(problem) if problem is not None else self._steps(recording, media, form, key)
            async for event in self._heard(recording, steps, media.timestamp if form is not None else None):
                yield event
        if key[1] == "" or (key[1] is None and not recording.ok):
            async for event in self._end(key):
                yield event

    def _refused(self, error: AudioUnusable) -> Iterator[Any]:
        raise error
        yield

    def _begin(self, key: tuple[str, str | None], media: Media, name: str) -> Recording:
        if len(self._open) >= MAX_OPEN:
            raise too_many_recordings(self._context.component, MAX_OPEN)
        self._number += 1
        place = _place(self._number, media, name)
        recording = self._open[key] = Recording(self._number, place, name or place, media.timestamp or 0.0)
        return recording

    def _steps(
        self, recording: Recording, media: Media, form: PcmForm | None, key: tuple[str, str | None]
    ) -> Iterator[Any]:
        """The blocks of a piece; nothing is decoded before the first one is taken."""
        if media.uri:
            raise not_included(recording.place, media.uri)
        warn = self._warner(recording)
        if form is None and (key[1] == "" or is_complete_wav(media.content)):
            if not media.content:
                raise empty_audio(recording.place)
            converter = Converter(
                Target(self._target.rate or recording.rate, self._target.channels or recording.channels)
            )
            for block in file_blocks(io.BytesIO(media.content), recording.place, converter, warn):
                recording.rate, recording.channels = converter.rate, converter.channels
                yield block
            if missing := missing_wav_bytes(media.content):
                warn(f"it is truncated: {missing:,} bytes of its samples are missing; it has {recording.seconds:.1f} s")
            return
        if recording.decoder is None:
            recording.decoder = (
                PcmDecoder(form, self._target)
                if form is not None
                else PipedDecoder(recording.place, self._target, warn)
            )
        elif (form is None) is isinstance(recording.decoder, PcmDecoder):
            warn(f"a piece of another type, {media.mime_type:.100}, was left out")
            return
        for block in recording.decoder.push(media.content):
            recording.rate, recording.channels = recording.decoder.rate, recording.decoder.channels
            yield block

    async def _heard(
        self, recording: Recording, steps: Iterator[Any], timestamp: float | None
    ) -> AsyncGenerator[Event, None]:
        first = True
        try:
            while (samples := await in_thread(next, steps, None)) is not None:
                if not len(samples):
                    continue
                if (
                    first and timestamp is not None and recording.rate
                ):  # the clock of the pieces precedes the count of samples
                    recording.start = timestamp - recording.count / recording.rate
                first = False
                start = recording.start + recording.seconds
                recording.count += len(samples)
                yield Heard(recording, samples, start)
        except AudioUnusable as error:
            if not self._skip:
                raise
            recording.outcome = GroupOutcome.ERROR
            self._context.log.warning("left out: %s", error.fault.message)

    async def _end(self, key: tuple[str, str | None]) -> AsyncGenerator[Event, None]:
        recording = self._open[key]
        if recording.ok and recording.decoder is not None:
            async for event in self._heard(recording, self._finished(recording), None):
                yield event
        del self._open[key]
        if isinstance(recording.decoder, PipedDecoder):
            recording.decoder.close()
        yield Ended(recording)

    def _finished(self, recording: Recording) -> Iterator[Any]:
        assert recording.decoder is not None
        for block in recording.decoder.finish():
            recording.rate, recording.channels = recording.decoder.rate, recording.decoder.channels
            yield block
        if not recording.count:
            raise empty_audio(recording.place)

    def _note_outcome(self, key: tuple[str, str | None], group: Group) -> None:
        recording = self._open[key]
        if group.outcome is not GroupOutcome.OK:
            self._warner(recording)("its producer failed or was cancelled before its end")
            if recording.ok:
                recording.outcome = group.outcome

    def _warner(self, recording: Recording) -> Callable[[str], None]:
        def warn(what: str) -> None:
            self._context.log.warning("%s: %s", recording.place, what)

        return warn


def _has_other_form(recording: Recording, form: PcmForm | None) -> bool:
    """Whether raw samples of this form do not continue a recording."""
    return isinstance(recording.decoder, PcmDecoder) and form != recording.decoder.form


def _file_name(item: Item) -> str:
    """The name of the file that an item was uploaded as; empty if it has none."""
    metadata = item.envelope.metadata if item.envelope is not None else None
    return (metadata or {}).get(FILE_NAME, "")[:200]


def _place(number: int, media: Media, name: str) -> str:
    """What a recording is, for messages."""
    return f"recording {number} ({name or f'{media.mime_type:.100}'})"
