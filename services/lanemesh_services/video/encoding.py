"""Writes a video whose bytes are sent while it is made: fragmented MP4, or WebM."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from lanemesh import Audio, Image

from lanemesh_services.shared.images import decode, opaque
from lanemesh_services.shared.media_errors import not_decoded, not_encoded
from lanemesh_services.video.containers import library
from lanemesh_services.video.sound import frames_of

SOUND_RATE = 48_000
"""Sample rate of the sound in Hz."""
CLOCK = 90_000
"""Ticks a second of the frames' timestamps."""
GAP = 0.05
"""Seconds without sound that are filled with silence; shorter ones are rounding."""
MAX_SILENCE = 3_600
"""Longest gap that is filled, in seconds."""
MAX_SIDE = 8_192
"""Most pixels of a side."""

VideoFormat = Literal["mp4", "webm"]
"""The containers that are written."""
_CODECS = {"mp4": ("libx264", "aac"), "webm": ("libvpx", "libopus")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How a video is written; the fields are the settings of `VideoMux`."""

    format: VideoFormat = "mp4"
    rate: float = 25.0
    quality: int = 23
    fragment: float = 1.0
    max_pixels: int = 50_000_000
    sound: bool = False
    """Whether it has sound."""


class VideoWriter:
    """One video. Its methods block; they are called one after the other."""

    def __init__(self, encoding: Encoding) -> None:
        """Raises `EngineMissing` without PyAV."""
        self._encoding = encoding
        self._av = library()
        self._sink = _Sink()
        self._container: Any = None
        self._pictures: Any = None
        self._sound: Any = None
        self._resampler: Any = None
        self._sound_form: tuple[str, str, int] | None = None
        """Format, layout and rate of the sound that the converter takes."""
        self._tick = -1
        self._samples = 0
        self._written = 0
        self.dropped = 0
        """Frames that were left out, because they are not later than the one before."""
        self.reduced = 0
        """Frames that were reduced while they were decoded, because they have more than `max_pixels` pixels."""
        self.size = (0, 0)
        """The size of the video in pixels; zeros before the first frame."""

    def add_frame(self, image: Image) -> bytes:
        """Adds a frame. Returns the bytes of the file that are complete. Raises `MediaUnusable` if the image cannot be read."""
        decoded = decode(image, max_pixels=self._encoding.max_pixels)
        self.reduced += decoded.reduced_from is not None
        picture = opaque(decoded.picture)
        if self._container is None:
            self._begin(picture.width, picture.height)
        at = image.timestamp if image.timestamp is not None else self._written / self._encoding.rate
        self._written += 1
        tick = round(at * CLOCK)
        if tick <= self._tick:
            self.dropped += 1
            return b""
        self._tick = tick
        frame = self._av.VideoFrame.from_image(picture)
        frame = frame.reformat(width=self.size[0], height=self.size[1], format="yuv420p")
        frame.pts, frame.time_base = tick, Fraction(1, CLOCK)
        self._container.mux(self._pictures.encode(frame))
        return self._sink.take()

    def add_sound(self, audio: Audio) -> bytes:
        """Adds sound after a first frame. Returns and raises as `add_frame`.

        A gap before its timestamp is filled with silence, of an hour at most. Sound that begins earlier than the end of the sound
        before follows that.
        """
        if audio.timestamp is not None:
            gap = audio.timestamp - self._samples / SOUND_RATE
            if gap > MAX_SILENCE:
                why = f"it begins {gap:,.0f} s after the end of the sound before, and the limit is {MAX_SILENCE:,} s"
                raise not_decoded(audio, why, "Correct its timestamp, or send the sound between")
            if gap > GAP:
                self._silence(round(gap * SOUND_RATE))
        for frame in frames_of(audio):
            self._resample(frame)
        return self._sink.take()

    def finish(self) -> bytes:
        """Ends the video. Returns the rest of its bytes; all of the methods may not be called any more."""
        if self._container is None:
            return b""
        self._container.mux(self._pictures.encode())
        if self._sound is not None:
            self._resample(None)
            self._container.mux(self._sound.encode())
        self._container.close()
        return self._sink.take()

    def _begin(self, width: int, height: int) -> None:
        self.size = (width - width % 2 or 2, height - height % 2 or 2)
        if max(self.size) > MAX_SIDE:
            what = f"a video of {width} x {height} pixels"
            raise not_encoded(
                what, f"the limit of a side is {MAX_SIDE} pixels", "Connect image_convert before, to reduce it"
            )
        form = self._encoding.format
        microseconds = round(self._encoding.fragment * 1_000_000)
        # Without sound for the time of a piece, the pictures go on alone.
        options = {"fflags": "bitexact", "max_interleave_delta": str(microseconds)}
        if form == "mp4":
            options |= {"movflags": "empty_moov+delay_moov+default_base_moof", "frag_duration": str(microseconds)}
        else:
            options |= {"cluster_time_limit": str(round(self._encoding.fragment * 1_000))}
        self._container = self._av.open(self._sink, "w", format=form, options=options)
        pictures, sound = _CODECS[form]
        rate = Fraction(self._encoding.rate).limit_denominator(1_001)
        self._pictures = self._container.add_stream(pictures, rate=rate)
        self._pictures.width, self._pictures.height = self.size
        self._pictures.pix_fmt = "yuv420p"
        self._pictures.codec_context.time_base = Fraction(1, CLOCK)
        self._pictures.codec_context.gop_size = max(1, round(self._encoding.rate * self._encoding.fragment))
        quality = str(self._encoding.quality)
        self._pictures.options = (
            {"crf": quality, "preset": "veryfast", "tune": "zerolatency"}
            if form == "mp4"
            else {"crf": quality, "b": "4M", "deadline": "realtime", "cpu-used": "8"}
        )
        if self._encoding.sound:
            self._sound = self._container.add_stream(sound, rate=SOUND_RATE, layout="stereo")

    def _silence(self, samples: int) -> None:
        import numpy as np

        while samples > 0:
            count = min(samples, SOUND_RATE)
            frame = self._av.AudioFrame.from_ndarray(np.zeros((1, 2 * count), np.int16), format="s16", layout="stereo")
            frame.rate = SOUND_RATE
            self._resample(frame)
            samples -= count

    def _resample(self, frame: Any) -> None:
        """Converts and encodes a frame of sound; None: what the converter still has."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate) if frame is not None else None
        if form != self._sound_form:
            if self._resampler is not None:
                self._encode_sound(self._resampler.resample(None))
            self._resampler = self._sound_form = None
        if frame is None:
            return
        if self._resampler is None:
            samples = {"mp4": "fltp", "webm": "s16"}[self._encoding.format]
            self._resampler = self._av.AudioResampler(samples, layout="stereo", rate=SOUND_RATE)
            self._sound_form = form
        frame.pts = None
        self._encode_sound(self._resampler.resample(frame))

    def _encode_sound(self, frames: list[Any]) -> None:
        for frame in frames:
            frame.pts, frame.time_base = self._samples, Fraction(1, SOUND_RATE)
            self._samples += frame.samples
            self._container.mux(self._sound.encode(frame))


class _Sink:
    """A file for PyAV that cannot seek, and keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, content: bytes) -> int:
        """Keeps bytes."""
        self._parts.append(bytes(content))
        return len(content)

    def take(self) -> bytes:
        """The bytes since the last call."""
        content = b"".join(self._parts)
        self._parts.clear()
        return content
