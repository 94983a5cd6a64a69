"""Sound on its way into a video: files in pieces are joined, and all of it waits for the first frame. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lanemesh import Audio, Group

from lanemesh_services.video.sound import is_pcm

MAX_BYTES = 64 * 1024 * 1024
"""Most bytes of sound that waits: 64 MiB."""


class TooMuchSound(Exception):
    """More than `MAX_BYTES` wait."""


class WaitingSound:
    """Joins the pieces of files, and passes on uncompressed pieces as they are."""

    def __init__(self) -> None:
        self._open: dict[str, list[Audio]] = {}
        self._whole: list[Audio] = []
        self._size = 0
        self.incomplete = 0
        """Files whose producer has failed."""

    def put(self, audio: Audio | None, group: Group | None) -> None:
        """Adds a piece; None if the item only ends its group. Raises `TooMuchSound`."""
        if audio is not None:
            self._size += len(audio.content)
            if self._size > MAX_BYTES:
                raise TooMuchSound
        if group is None or (audio is not None and is_pcm(audio)):
            if audio is not None and audio.content:
                self._whole.append(audio)
            return
        pieces = self._open.setdefault(group.id, [])
        if audio is not None:
            pieces.append(audio)
        if group.last:
            del self._open[group.id]
            if group.outcome.name != "OK":
                self.incomplete += bool(pieces)
                self._size -= sum(len(piece.content) for piece in pieces)
            elif pieces:
                self._whole.append(replace(pieces[0], content=b"".join(piece.content for piece in pieces)))

    def take(self) -> Iterator[Audio]:
        """The sound that is complete, in order."""
        whole, self._whole = self._whole, []
        self._size = sum(len(piece.content) for pieces in self._open.values() for piece in pieces)
        yield from (audio for audio in whole if audio.content)

    @property
    def left(self) -> int:
        """Files that are not complete."""
        return len(self._open)
