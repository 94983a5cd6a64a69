"""Opens audio and video with PyAV, and turns its errors into ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lanemesh import Media

from lanemesh_services.shared.errors import import_failed
from lanemesh_services.shared.media_errors import MediaUnusable, described, not_decoded
from lanemesh_services.video.piece_file import ReaderStopped

FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,ogg,wav,mp3,aac,flac,asf,h264,hevc,ivf,gif"
"""The containers that are read. Others, such as playlists, name further files and addresses."""
PCM = "audio/pcm"
"""The media type of uncompressed audio: 16 bits, little-endian, interleaved; the rate and the channels are in the item."""


def library() -> Any:
    """The module `av`. Raises `EngineMissing` if it cannot be imported."""
    try:
        import av
    except (ImportError, OSError) as error:
        raise import_failed("av", "this video node", "video", error) from error
    return av


@contextmanager
def opened(file: Any, media: Media) -> Iterator[Any]:
    """Opens a file-like object for reading; the container is closed at the end.

    Errors of the library within the block become `MediaUnusable`, which names the media.
    """
    av = library()
    try:
        with av.open(file, "r", options={"format_whitelist": FORMATS, "protocol_whitelist": "none"}) as container:
            yield container
    except (MediaUnusable, ReaderStopped):
        raise
    except av.FFmpegError as error:
        why = (error.strerror or type(error).__name__).lower()
        hint = "Check that the file is whole, and that a player opens it"
        raise not_decoded(described(media), why, hint) from error
