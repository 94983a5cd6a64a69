"""Encodes samples to the pieces of one file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Protocol

import av
import numpy as np
from lanemesh import Audio

PCM = "audio/pcm"
"""Media type of raw samples: signed 16 bits, little-endian, the channels of a sample side by side."""

Format = Literal["pcm", "wav", "mp3", "opus"]

OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
HEAD_BYTES = 44
"""Length of the head of a WAV file."""
ENDLESS = 0xFFFFFFFF
"""Length in the head of a WAV file whose length is not known yet."""


def pcm_piece(samples: Any, rate: int, start: float) -> Audio:
    """A piece of raw samples, from an int16 array with one row per sample; `start` in seconds."""
    return Audio(
        mime_type=PCM,
        content=samples.astype("<i2", copy=False).tobytes(),
        timestamp=start,
        rate=float(rate),
        channels=samples.shape[1],
    )


class Encoder(Protocol):
    """Encodes one file. The pieces that it returns, one after the other, are the file."""

    mime_type: str
    rate: int

    def push(self, samples: Any) -> bytes:
        """Adds samples: int16, one row per sample. Returns the bytes that are ready, perhaps none."""

    def finish(self) -> bytes:
        """Ends the file. Returns the rest of its bytes."""


def encoder(form: Format, rate: int, channels: int, bitrate: int | None = None) -> Encoder:
    """An encoder.

    Args:
        form: the format.
        rate: samples a second of what it gets. MP3 and Opus know some rates only: others are converted to the next greater one.
        channels: 1 or 2.
        bitrate: bits a second of MP3 and Opus; None: what the codec selects.
    """
    match form:
        case "pcm":
            return _Plain(PCM, rate)
        case "wav":
            return _Wav(rate, channels)
        case "mp3":
            return _Encoded(_MP3, _nearest(rate, MP3_RATES), channels, rate, bitrate)
    return _Encoded(_OPUS, _nearest(rate, OPUS_RATES), channels, rate, bitrate)


def _nearest(rate: int, known: tuple[int, ...]) -> int:
    return next((one for one in known if one >= rate), known[-1])


class _Plain:
    """Raw samples."""

    def __init__(self, mime_type: str, rate: int) -> None:
        self.mime_type = mime_type
        self.rate = rate

    def push(self, samples: Any) -> bytes:
        return bytes(samples.astype("<i2", copy=False).tobytes())

    def finish(self) -> bytes:
        return b""


class _Wav(_Plain):
    """A WAV file whose length is not known when it begins, as of a stream."""

    def __init__(self, rate: int, channels: int) -> None:
        super().__init__("audio/wav", rate)
        self._head = wav_head(rate, channels, ENDLESS)

    def push(self, samples: Any) -> bytes:
        head, self._head = self._head, b""
        return head + super().push(samples)


def wav_head(rate: int, channels: int, size: int) -> bytes:
    """The head of a WAV file with `size` bytes of 16-bit samples."""
    whole = ENDLESS if size == ENDLESS else size + 36
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * channels * 2, channels * 2, 16)
    return b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size)


def with_length(wav: bytes) -> bytes:
    """A whole WAV file of this module, with its length in its head."""
    size = len(wav) - HEAD_BYTES
    return wav[:4] + struct.pack("<I", size + 36) + wav[8:40] + struct.pack("<I", size) + wav[HEAD_BYTES:]


class _Sink:
    """What the container writes; taken piece by piece."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: Any) -> int:
        """Adds bytes."""
        self._written += data
        return len(data)

    def take(self) -> bytes:
        """Removes and returns the bytes."""
        taken = bytes(self._written)
        self._written.clear()
        return taken


@dataclass(frozen=True, slots=True)
class _Codec:
    """A codec in its container, with the options of both."""

    mime_type: str
    container: str
    codec: str
    options: dict[str, str]
    codec_options: dict[str, str]


_MP3 = _Codec(
    "audio/mpeg", "mp3", "libmp3lame", {"write_xing": "0", "id3v2_version": "0"}, {"compression_level": "7"}
)  # level 7 takes half of the time of the default, 5
_OPUS = _Codec("audio/ogg", "ogg", "libopus", {"page_duration": "100000"}, {})


class _Encoded:
    """A file in a container, by FFmpeg."""

    def __init__(self, codec: _Codec, rate: int, channels: int, source_rate: int, bitrate: int | None) -> None:
        self.mime_type = codec.mime_type
        self.rate = rate
        self._source_rate = source_rate
        self._layout = "mono" if channels == 1 else "stereo"
        self._sink = _Sink()
        self._container = av.open(
            self._sink, "w", format=codec.container, options={**codec.options, "flush_packets": "1"}
        )
        self._stream = self._container.add_stream(
            codec.codec, rate=rate, layout=self._layout, options=codec.codec_options
        )
        if bitrate is not None:
            self._stream.bit_rate = bitrate
        self._count = 0

    def push(self, samples: Any) -> bytes:
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples).reshape(1, -1), format="s16", layout=self._layout
        )
        frame.sample_rate = self._source_rate
        frame.time_base = Fraction(1, self._source_rate)
        frame.pts = self._count
        self._count += len(samples)
        self._mux(frame)
        return self._sink.take()

    def finish(self) -> bytes:
        self._mux(None)
        self._container.close()
        return self._sink.take()

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
