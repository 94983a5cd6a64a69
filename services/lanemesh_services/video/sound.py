"""Sound of any kind as samples of 16 bits: uncompressed pieces, and whole files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from lanemesh import Audio

from lanemesh_services.shared.media_errors import no_bytes, not_decoded
from lanemesh_services.video.containers import library, opened

LEAST_RATE, MOST_RATE = 1_000, 384_000
"""Sample rates of uncompressed audio, in Hz. A lower one would become many times its size."""
_PCM = re.compile(r"audio/(pcm|x-raw|raw|l16)\s*(;.*)?$", re.IGNORECASE)


def is_pcm(audio: Audio) -> bool:
    """It is uncompressed, so that each piece can be read by itself."""
    return bool(_PCM.match(audio.mime_type))


def frames_of(audio: Audio) -> Iterator[Any]:
    """The frames of PyAV of uncompressed audio, or of a whole file. Raises `MediaUnusable` if it cannot be read."""
    if not audio.content:
        raise no_bytes(audio)
    if is_pcm(audio):
        yield _frame(audio)
        return
    with opened(io.BytesIO(audio.content), audio) as container:
        if not container.streams.audio:
            raise not_decoded(audio, "it has no sound", "Send a file with sound")
        yield from container.decode(audio=0)


def _frame(audio: Audio) -> Any:
    import numpy as np

    channels, rate = audio.channels or 1, round(audio.rate)
    if not LEAST_RATE <= rate <= MOST_RATE or channels > 2:
        why = f"its rate is {audio.rate:g} Hz, and it has {channels} channels"
        raise not_decoded(
            audio, why, f"Send uncompressed audio of {LEAST_RATE:,} to {MOST_RATE:,} Hz, with one or two channels"
        )
    if len(audio.content) % (2 * channels):
        raise not_decoded(audio, f"its size is no multiple of {2 * channels} bytes", "Send whole samples of 16 bits")
    samples = np.frombuffer(audio.content, "<i2")[None]
    frame = library().AudioFrame.from_ndarray(samples, format="s16", layout="stereo" if channels == 2 else "mono")
    frame.rate = rate
    return frame
