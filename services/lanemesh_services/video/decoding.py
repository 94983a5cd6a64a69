"""Frames and sound of a video, in the order of the file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lanemesh import Audio, Image, Media, Video

from lanemesh_services.shared.images import RAW, ImageFormat, encode
from lanemesh_services.shared.media_errors import described, not_decoded, too_large
from lanemesh_services.video.containers import PCM, library, opened

SOUND_RATE = 48_000
"""Sample rate of the sound in Hz."""
END_TOLERANCE = 1.0
"""Seconds that may be missing at the end of a file, which many files lack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which frames are sent, and how; the fields are the settings of `VideoFrames`."""

    rate: float | None = None
    key_frames: bool = False
    start: float = 0.0
    end: float | None = None
    max_frames: int | None = None
    width: int | None = None
    height: int | None = None
    format: ImageFormat = "jpeg"
    quality: int = 90
    max_pixels: int = 50_000_000
    frames: bool = True
    """Whether frames are wanted."""
    sound: bool = False
    """Whether the sound is wanted."""


Progress = Callable[[float, float, str], object]


def decoded(
    file: Any,
    video: Video,
    selection: Selection,
    progress: Progress,
    warn: Callable[[str], object],
    *,
    whole: bool,
    stopped: Callable[[], bool],
) -> Iterator[tuple[str, Media]]:
    """Yields `("frames", Image)` and `("audio", Audio)`, each with its timestamp in seconds from the start of the video.

    Args:
        file: a file-like object with `read`, `seek` and `tell`.
        video: what it comes from; errors name it.
        selection: what is yielded.
        progress: called with the seconds that are done, all seconds (0 if unknown) and a text.
        warn: called with a message if the sound is wanted, and there is none.
        whole: all of the file is there, so that it can be read from `selection.start`.
        stopped: asked after each packet; True ends the reading.

    Raises:
        MediaUnusable: the file is broken or truncated, has no frames, or frames with too many pixels.
    """
    with opened(file, video) as container:
        streams = _streams(container, video, selection, warn)
        reader = _FrameConverter(container, video, selection)
        if whole and selection.start > 1:
            container.seek(int((selection.start + reader.origin) * 1_000_000))
        reported = time.monotonic()
        for packet in container.demux(*streams):
            for frame in packet.decode():
                yield from reader.values(frame)
            if time.monotonic() - reported > 0.5:
                reported = time.monotonic()
                progress(
                    min(reader.last, reader.duration) if reader.duration else reader.last,
                    reader.duration,
                    "reading a video",
                )
            if reader.is_done or stopped():
                return
        reader.check_end()


def _streams(container: Any, video: Video, selection: Selection, warn: Callable[[str], object]) -> list[Any]:
    streams = []
    if selection.frames:
        pictured = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not pictured:
            raise not_decoded(video, "it has no video, only sound or data", "Send a file with video")
        stream = pictured[0]
        _check(video, stream.codec_context.width, stream.codec_context.height, selection.max_pixels)
        stream.thread_type = "AUTO"
        if selection.key_frames:
            stream.codec_context.skip_frame = "NONKEY"
        streams.append(stream)
    if selection.sound:
        if container.streams.audio:
            streams.append(container.streams.audio[0])
        elif selection.frames:
            warn(f"{described(video)} has no sound")
        else:
            raise not_decoded(video, "it has no sound", "Send a file with sound, or connect its frames")
    return streams


def _is_cover(stream: Any) -> bool:
    """It is the cover of a piece of music."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _check(video: Video, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        why = f"its frames have {width:,} x {height:,} pixels, and the limit is {max_pixels:,} pixels"
        raise too_large(video, why, "Reduce it before, or raise config.max_pixels")


class _FrameConverter:
    """Turns frames of PyAV into values."""

    def __init__(self, container: Any, video: Video, selection: Selection) -> None:
        self._video = video
        self._selection = selection
        self._resampler = library().AudioResampler("s16", rate=SOUND_RATE) if selection.sound else None
        self.origin = (container.start_time or 0) / 1_000_000
        """The time of the file that is its start, in seconds."""
        self.duration = (container.duration or 0) / 1_000_000
        """The length of the file by its header, in seconds; 0 if unknown."""
        self.last = 0.0
        """The time of the latest frame."""
        self.is_done = False
        """Nothing further is wanted."""
        self._sent = self._read = 0
        video_streams = container.streams.video
        self._rate = float(video_streams[0].average_rate or 0) if video_streams else 0.0
        self._due: float | None = None
        """The time from which the next frame is sent, with a rate; None before the first one."""

    def values(self, frame: Any) -> Iterator[tuple[str, Media]]:
        """The values of a frame of video or audio."""
        at = (frame.time or 0.0) - self.origin
        self.last = max(self.last, at)
        if self._selection.end is not None and at >= self._selection.end:
            self.is_done = True
            return
        if hasattr(frame, "samples"):
            if at >= self._selection.start and self._resampler is not None:
                yield from (("audio", piece) for piece in self._sound(frame, at))
            return
        self._read += 1
        if self._is_wanted(at):
            _check(self._video, frame.width, frame.height, self._selection.max_pixels)
            yield "frames", self._image(frame, at)
            self._sent += 1
            if self._sent == self._selection.max_frames:
                self.is_done = True

    def check_end(self) -> None:
        """Raises `MediaUnusable` if the file has ended before its header says, or has no frame."""
        if self._selection.frames and not self._read:
            raise not_decoded(self._video, "it has no frame that can be decoded", "Check that the file is whole")
        if self.duration and self.last + END_TOLERANCE < self.duration and not self._selection.key_frames:
            why = f"it ends at {self.last:.2f} s, and its header says {self.duration:.2f} s"
            raise not_decoded(self._video, why, "The file is truncated: send the whole file")

    def _is_wanted(self, at: float) -> bool:
        """Whether the frame at a time is sent. Moves on to the time of the next one."""
        if self.is_done or at < self._selection.start:
            return False
        if self._selection.rate is None:
            return True
        if self._due is None:
            self._due = at
        if at + 1e-6 < self._due:
            return False
        step = 1 / self._selection.rate
        self._due += step * max(1, int((at - self._due) / step + 1e-6) + 1)
        return True

    def _image(self, frame: Any, at: float) -> Image:
        width, height = self._size(frame)
        if width * height > self._selection.max_pixels:
            why = f"its frames would have {width:,} x {height:,} pixels, and the limit is {self._selection.max_pixels:,} pixels"
            raise too_large(self._video, why, "Reduce config.width or config.height, or raise config.max_pixels")
        at = round(at, 6)
        rate = self._selection.rate or self._rate
        scaled = frame.reformat(width=width, height=height, format="rgb24")
        if self._selection.format == "raw":
            return Image(RAW, scaled.to_ndarray().tobytes(), timestamp=at, width=width, height=height, rate=rate)
        like = Image("", timestamp=at, rate=rate)
        return encode(scaled.to_image(), self._selection.format, quality=self._selection.quality, like=like)

    def _size(self, frame: Any) -> tuple[int, int]:
        width, height = self._selection.width, self._selection.height
        if width is None and height is None:
            return frame.width, frame.height
        if width is None:
            width = max(1, round(frame.width * (height or 0) / frame.height))
        return width, height or max(1, round(frame.height * width / frame.width))

    def _sound(self, frame: Any, at: float) -> Iterator[Audio]:
        assert self._resampler is not None
        for resampled in self._resampler.resample(frame):
            samples = resampled.to_ndarray().tobytes()
            channels = resampled.layout.nb_channels
            yield Audio(PCM, samples, timestamp=round(at, 6), rate=SOUND_RATE, channels=channels)
            at += resampled.samples / SOUND_RATE
