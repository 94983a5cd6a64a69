"""A video of a picture with text below it, as long as its speech."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lanemesh import Audio, Context, Image, Video

from lanemesh_services.shared.images import encode, opaque
from lanemesh_services.shared.media_errors import not_encoded, too_large
from lanemesh_services.video.encoding import Encoding, VideoWriter
from lanemesh_services.video.sound import frames_of

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

RATE = 2
"""Frames a second."""
LINES = 3
"""Lines of text on one page."""
MAX_WORD = 200
"""Most characters of a text without a space that are measured at a time."""
_PAPER, _INK = "#faf8f4", "#222222"


def slideshow(text: str, picture: Picture | None, sound: Audio | None, config: Any, context: Context) -> Video:
    """The video; `config` has the settings of `Compose`.

    Raises:
        MediaUnusable: the speech cannot be read or is too long, the font cannot be read.
    """
    seconds = config.seconds if sound is None else _duration(sound)
    if seconds > config.max_seconds:
        why = f"it lasts {seconds:.0f} s, and the limit is {config.max_seconds:g} s"
        raise too_large(sound or "the video", why, "Shorten it, or raise config.max_seconds")
    pages = _Pages(text, picture, config)
    count = max(1, round(seconds * RATE))
    writer = VideoWriter(Encoding(rate=RATE, sound=sound is not None))
    parts = []
    for number in range(count):
        if context.cancelled:
            break
        context.progress(number, count, "making a video")
        shown = pages.at(number * pages.count // count)
        parts.append(writer.add_frame(replace(shown, timestamp=number / RATE)))
        if number == 0 and sound is not None:
            parts.append(writer.add_sound(replace(sound, timestamp=None)))
    parts.append(writer.finish())
    return Video("video/mp4", b"".join(parts), width=config.width, height=config.height, rate=RATE)


def _duration(sound: Audio) -> float:
    return sum((frame.samples / frame.sample_rate for frame in frames_of(sound)), 0.0)


class _Pages:
    """The frames that are shown one after the other: the picture, and three lines of the text. One is kept at a time."""

    def __init__(self, text: str, picture: Picture | None, config: Any) -> None:
        from PIL import Image as pillow

        size = max(12, config.height // 18)
        self._font = _font(config.font, size)
        self._line = round(size * 1.4)
        margin = size
        area = config.height - (2 * margin + LINES * self._line if text.strip() else 0)
        self._top = area + margin
        self._base = pillow.new("RGB", (config.width, config.height), _PAPER)
        if picture is not None:
            shown = opaque(picture)
            scale = min((config.width - 2 * margin) / shown.width, max(1, area - margin) / shown.height)
            shown = shown.resize((max(1, round(shown.width * scale)), max(1, round(shown.height * scale))))
            self._base.paste(shown, ((config.width - shown.width) // 2, (area + margin - shown.height) // 2))
        self._lines = _wrapped(text, self._font, config.width - 2 * margin)
        self.count = max(1, -(-len(self._lines) // LINES))
        """The number of pages."""
        self._drawn: tuple[int, Image] | None = None

    def at(self, number: int) -> Image:
        """The page of this number, from 0."""
        if self._drawn is None or self._drawn[0] != number:
            self._drawn = number, self._draw(self._lines[number * LINES : (number + 1) * LINES])
        return self._drawn[1]

    def _draw(self, lines: list[str]) -> Image:
        from PIL import ImageDraw

        page = self._base.copy()
        draw = ImageDraw.Draw(page)
        for row, words in enumerate(lines):
            place = (page.width / 2, self._top + (row + 0.5) * self._line)
            draw.text(place, words, fill=_INK, font=self._font, anchor="mm")
        return encode(page, "raw")


def _font(path: str | None, size: int) -> Any:
    from PIL import ImageFont

    if path is None:
        return ImageFont.load_default(size=size)
    try:
        with open(path, "rb") as file:
            return ImageFont.truetype(io.BytesIO(file.read()), size)
    except OSError as error:
        hint = "Set config.font to the path of a TrueType or OpenType font"
        raise not_encoded("the text of a video", f"the font {path} cannot be read: {error}", hint) from error


def _wrapped(text: str, font: Any, width: float) -> list[str]:
    """The lines of a text that fit into a width in pixels; longer words are cut."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        current = ""
        for word in _short_words(paragraph):
            longer = f"{current} {word}".strip()
            if font.getlength(longer) <= width:
                current = longer
                continue
            if current:
                lines.append(current)
            while font.getlength(word) > width and len(word) > 1:
                fits = next(
                    end for end in range(len(word) - 1, 0, -1) if end == 1 or font.getlength(word[:end]) <= width
                )
                lines.append(word[:fits])
                word = word[fits:]
            current = word
        if current:
            lines.append(current)
    return lines


def _short_words(text: str) -> Iterator[str]:
    """The words of a text. A longer one than `MAX_WORD`, which no line has, is several."""
    for word in text.split():
        for start in range(0, len(word), MAX_WORD):
            yield word[start : start + MAX_WORD]
