"""Videos made for tests."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
from lanemesh import Video

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def video_of(
    seconds: float = 2,
    *,
    rate: int = 25,
    size: tuple[int, int] = (64, 48),
    form: str = "mp4",
    frames: bool = True,
    sound: bool = False,
    options: dict[str, str] | None = None,
) -> Video:
    """A video whose frames become brighter, from black, by 4 a frame; the sound is a tone of 440 Hz.

    `options`: those of the container, such as `FRAGMENTED`.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=form, options=options or {}) as container:
        if frames:
            pictures = container.add_stream("libx264" if form == "mp4" else "libvpx", rate=rate)
            pictures.width, pictures.height = size
            pictures.pix_fmt = "yuv420p"
            pictures.codec_context.gop_size = rate // 2
        if sound:
            tone = container.add_stream("aac" if form == "mp4" else "libopus", rate=48_000, layout="mono")
        if frames:
            for number in range(round(seconds * rate)):
                pixels: Any = np.full((size[1], size[0], 3), number * 4 % 256, np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, rate)
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode())
        if sound:
            wave = (np.sin(np.arange(round(seconds * 48_000)) * 440 * 2 * np.pi / 48_000) * 9_000).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            samples.rate, samples.pts = 48_000, 0
            container.mux(tone.encode(samples))
            container.mux(tone.encode())
    return Video(f"video/{form}", file.getvalue())
