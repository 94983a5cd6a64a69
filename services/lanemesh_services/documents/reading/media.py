"""Pictures, audio and video: passed on as they are."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator

from lanemesh import Audio, Image, Video

from lanemesh_services.documents.reading.parts import File, Limits, Medium, Part


def read_image(file: File, limits: Limits) -> Iterator[Part]:
    """The picture."""
    yield Medium(Image(_type(file, "image/png"), file.content))


def read_audio(file: File, limits: Limits) -> Iterator[Part]:
    """The audio."""
    yield Medium(Audio(_type(file, "audio/wav"), file.content))


def read_video(file: File, limits: Limits) -> Iterator[Part]:
    """The video."""
    yield Medium(Video(_type(file, "video/mp4"), file.content))


def image_type(name: str) -> str:
    """The media type of a picture by its name; empty if it is none."""
    guessed = mimetypes.guess_type(name)[0] or ""
    return guessed if guessed.startswith("image/") else ""


def _type(file: File, default: str) -> str:
    prefix = default.split("/")[0] + "/"
    if file.mime_type.startswith(prefix):
        return file.mime_type
    guessed = mimetypes.guess_type(file.name)[0] or ""
    return guessed if guessed.startswith(prefix) else default
