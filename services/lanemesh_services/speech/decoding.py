"""Decodes audio to 16-bit samples, step by step: whole files, files that arrive in pieces, and raw samples.

A block of samples is an int16 array with one row per sample and one column per channel, at most about a second long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
from lanemesh import Media

from lanemesh_services.speech.errors import (
    bad_audio,
    empty_audio,
    no_audio_track,
    unknown_format,
)

CONTAINERS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,gsm,matroska,mov,mp3,mp4,mpeg,mpegts,ogg,tta,w64,wav,webm,wv,xwma"
"""The formats that are read. None of them names other files or hosts, as playlists do."""
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": ""}
PIPED_OPTIONS = {**OPTIONS, "probesize": "65536", "analyzeduration": "500000"}
"""For files that arrive in pieces: begin after some pieces."""
LEAST_RATE, MOST_RATE, MOST_CHANNELS = 1_000, 384_000, 32
MAX_DAMAGE = 100
"""Damaged packets in sequence after which a file is given up."""

_PCM = re.compile(r"audio/(pcm|x-raw|raw|l16)\s*(;.*)?$", re.IGNORECASE)
_PARAMETER = re.compile(r";\s*(rate|channels)\s*=\s*(\d{1,9})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """What samples are converted to."""

    rate: int | None = None
    """Samples a second and channel; None: those of the source."""
    channels: int | None = None
    """Number of channels, 1 or 2; None: those of the source, at most 2."""


@dataclass(frozen=True, slots=True)
class PcmForm:
    """The form of raw samples of 16 bits."""

    rate: int
    channels: int
    big_endian: bool

    @classmethod
    def of(cls, media: Media, place: str) -> PcmForm | None:
        """The form of a piece of raw samples; None if it is no such piece. Fields of the piece precede its media type.

        Raises:
            AudioUnusable: rate or channels are missing or out of range.
        """
        found = _PCM.match(media.mime_type)
        if found is None:
            return None
        written = {name.lower(): int(value) for name, value in _PARAMETER.findall(media.mime_type)}
        rate, channels = round(media.rate) or written.get("rate", 0), media.channels or written.get("channels", 1)
        if not LEAST_RATE <= rate <= MOST_RATE or not 1 <= channels <= MOST_CHANNELS:
            raise unknown_format(
                place,
                f"raw samples with rate {rate} and {channels} channels",
                f"Set `rate` to {LEAST_RATE} to {MOST_RATE} Hz and `channels` to 1 to {MOST_CHANNELS}, or send a file.",
            )
        return cls(rate, channels, found[1].lower() == "l16")


class ByteSource(Protocol):
    """A file to be read from its beginning."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; empty at the end."""


class Converter:
    """Converts frames of one recording to a rate and a number of channels, and keeps the state of the filter between them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._resampler: Any = None
        self._in = ("", "", 0)
        self.rate = target.rate or 0
        """Rate of its blocks; 0 before the first frame if it is that of the source."""
        self.channels = target.channels or 0
        """Channels of its blocks; as for `rate`."""

    def push(self, frame: Any) -> Iterator[Any]:
        """The samples that are ready after a frame."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._in:
            yield from self.finish()
            self._in = form
            self.rate = self.rate or frame.sample_rate
            self.channels = self.channels or min(frame.layout.nb_channels, 2)
            layout = "mono" if self.channels == 1 else "stereo"
            self._resampler = av.AudioResampler(format="s16", layout=layout, rate=self.rate)
        frame.pts = None
        for ready in self._resampler.resample(frame):
            yield ready.to_ndarray().reshape(-1, self.channels)

    def finish(self) -> Iterator[Any]:
        """The samples that the filter still holds."""
        if self._resampler is not None:
            for ready in self._resampler.resample(None):
                if ready is not None and ready.samples:
                    yield ready.to_ndarray().reshape(-1, self.channels)
            self._resampler, self._in = None, ("", "", 0)


class PcmDecoder:
    """Converts raw samples that arrive in pieces of any size."""

    def __init__(self, form: PcmForm, target: Target) -> None:
        self.form = form
        self._rest = b""
        channels = target.channels or min(form.channels, 2)
        self._same = (target.rate or form.rate, channels) == (form.rate, form.channels)
        self._converter = Converter(Target(target.rate or form.rate, channels))
        self.rate, self.channels = self._converter.rate, channels

    def push(self, content: bytes) -> Iterator[Any]:
        """The samples that are ready after a piece."""
        content = self._rest + content
        whole = len(content) - len(content) % (2 * self.form.channels)
        self._rest = content[whole:]
        samples = np.frombuffer(content, dtype=">i2" if self.form.big_endian else "<i2", count=whole // 2)
        samples = samples.astype(np.int16, copy=False).reshape(-1, self.form.channels)
        for start in range(0, len(samples), self.form.rate):
            block = samples[start : start + self.form.rate]
            if self._same:
                yield block
            else:
                yield from self._converter.push(self._frame(block))

    def finish(self) -> Iterator[Any]:
        """The samples that the filter still holds. An incomplete sample at the end is dropped."""
        yield from self._converter.finish()

    def _frame(self, block: Any) -> Any:
        channels = self.form.channels
        if channels > 2:  # which speaker a channel is for is not known, so all count alike
            block = np.rint(block.mean(axis=1, keepdims=True)).astype(np.int16)
            channels = 1
        layout = "mono" if channels == 1 else "stereo"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = self.form.rate
        frame.time_base = Fraction(1, self.form.rate)
        return frame


def is_complete_wav(content: bytes) -> bool:
    """Whether bytes are a whole WAV file, so that the next piece is another one."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return False
    return int.from_bytes(content[4:8], "little") + 8 <= len(content)


def missing_wav_bytes(content: bytes) -> int:
    """How many bytes of samples a WAV file announces and does not have; 0 if it is none, or its length is not known in advance."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return 0
    place = 12
    while place + 8 <= len(content):
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        if content[place : place + 4] == b"data":
            endless = size == 0 or size >= 0x7FFFF000
            return 0 if endless else max(0, size - (len(content) - place - 8))
        place += 8 + size + size % 2
    return 0


def file_blocks(
    source: ByteSource, place: str, converter: Converter, warn: Callable[[str], object], *, piped: bool = False
) -> Iterator[Any]:
    """The samples of the first audio track of a file, block by block.

    Args:
        source: the file. If it can seek, formats with their index at the end are read too.
        place: what is read, for errors.
        converter: converts the samples, and is finished.
        warn: gets a description of damage after which the file was read on.
        piped: the file arrives while it is read.

    Raises:
        AudioUnusable: it is no audio, or nothing of it can be decoded.
    """
    count = 0
    try:
        options = PIPED_OPTIONS if piped else OPTIONS
        with av.open(source, options=options, metadata_errors="replace") as container:
            for samples in _gathered(_decoded(container, place, converter, warn)):
                count += len(samples)
                yield samples
    except av.error.FFmpegError as error:
        if not count:
            raise bad_audio(place, error.strerror or str(error)) from None
        warn(f"it ends early, after {count / converter.rate:.1f} s: {error.strerror}")
    if not count:
        raise empty_audio(place)


def _decoded(container: Any, place: str, converter: Converter, warn: Callable[[str], object]) -> Iterator[Any]:
    tracks = container.streams.audio
    if not tracks:
        kinds = sorted({stream.type for stream in container.streams}) or ["nothing that can be played"]
        raise no_audio_track(place, ", ".join(kinds))
    track = tracks[0]
    if track.codec_context is None:
        hint = "Convert it to WAV, MP3, Opus, AAC or FLAC."
        raise unknown_format(place, f"no decoder here reads the codec of its audio in {container.format.name}", hint)
    damaged = run = 0
    for packet in container.demux(track):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            damaged, run = damaged + 1, run + 1
            if run >= MAX_DAMAGE:
                raise
            continue
        run = 0
        for frame in frames:
            if not frame.samples:
                continue
            if not LEAST_RATE <= frame.sample_rate <= MOST_RATE:
                hint = f"Send audio of {LEAST_RATE} to {MOST_RATE} Hz."
                raise unknown_format(place, f"its samples have a rate of {frame.sample_rate} Hz", hint)
            yield from converter.push(frame)
    yield from converter.finish()
    if damaged:
        warn(f"{damaged} damaged packets of it were left out")


def _gathered(parts: Iterator[Any], least: int = 8_000) -> Iterator[Any]:
    """Small parts joined to blocks of at least `least` samples, except the last one."""
    held: list[Any] = []
    count = 0
    try:
        for part in parts:
            held.append(part)
            count += len(part)
            if count >= least:
                yield np.concatenate(held)
                held, count = [], 0
    except av.error.FFmpegError:
        if held:
            yield np.concatenate(held)
        raise
    if held:
        yield np.concatenate(held)
