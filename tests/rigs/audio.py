"""Audio for tests: the recordings of the examples, and made ones."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
from lanemesh import Audio

INPUTS = Path(__file__).parents[2] / "examples" / "inputs"
RATE = 16_000


def question() -> bytes:
    """A WAV file: somebody asks for the weather in London, and a second of silence."""
    return (INPUTS / "question.wav").read_bytes()


def samples_of(wav: bytes) -> Any:
    """The samples of a mono WAV file."""
    with wave.open(io.BytesIO(wav)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


def tone(seconds: float, rate: int = RATE, channels: int = 1) -> Any:
    """A tone of 440 Hz, one row per sample."""
    times = np.arange(round(seconds * rate)) / rate
    mono = (np.sin(times * 440 * 2 * np.pi) * 8_000).astype("<i2")
    return np.repeat(mono[:, None], channels, axis=1)


def wav_of(samples: Any, rate: int = RATE) -> bytes:
    """A WAV file."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return written.getvalue()


def pcm_pieces(samples: Any, rate: int = RATE, size: int = 1_600, **fields: Any) -> list[Audio]:
    """Raw samples in pieces, as a microphone sends them."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return [
        Audio(
            "audio/pcm", samples[start : start + size].astype("<i2").tobytes(), rate=rate, channels=channels, **fields
        )
        for start in range(0, len(samples), size)
    ]


def container_of(samples: Any, form: str, codec: str, rate: int = RATE) -> bytes:
    """A file with mono samples in a container."""
    return _written(io.BytesIO(), samples, form, codec, rate, {})


class _Stream(io.BytesIO):
    """A file that its writer cannot go back in."""

    def seekable(self) -> bool:
        return False


def recorded_by_browser(samples: Any, form: str, rate: int = RATE) -> bytes:
    """A recording as browsers make it while it goes on: "webm" and "ogg" with Opus, "mp4" with AAC in fragments."""
    options = (
        {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "500000"} if form == "mp4" else {}
    )
    return _written(_Stream(), samples, form, "aac" if form == "mp4" else "libopus", rate, options)


def _written(written: io.BytesIO, samples: Any, form: str, codec: str, rate: int, options: dict[str, str]) -> bytes:
    with av.open(written, "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return written.getvalue()


def silent_video(seconds: float = 1.0) -> bytes:
    """An MP4 file without a track of audio."""
    written = io.BytesIO()
    with av.open(written, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 64
        for _ in range(round(seconds * 10)):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), dtype=np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return written.getvalue()


def seconds_of(content: bytes) -> float:
    """The length of a file in seconds, as a decoder finds it."""
    with av.open(io.BytesIO(content)) as container:
        frames = list(container.decode(audio=0))
    return float(sum(frame.samples for frame in frames) / frames[0].sample_rate)
