"""Images made for tests."""

from __future__ import annotations

import io
from typing import Any

from lanemesh import Image
from PIL import Image as pillow
from PIL import ImageDraw, ImageFont
from PIL.Image import Image as Picture


def image_of(picture: Picture, form: str = "png", **options: Any) -> Image:
    """A picture as a value, encoded by Pillow."""
    buffer = io.BytesIO()
    picture.save(buffer, format=form, **options)
    return Image(f"image/{form}", buffer.getvalue())


def picture_of(image: Image) -> Picture:
    """The pixels of a value."""
    picture = pillow.open(io.BytesIO(image.content))
    picture.load()
    return picture


def gradient(width: int = 64, height: int = 48) -> Picture:
    """Red grows to the right, green downwards."""
    picture = pillow.new("RGB", (width, height))
    picture.putdata([(x * 255 // width, y * 255 // height, 90) for y in range(height) for x in range(width)])
    return picture


def noise(width: int = 200, height: int = 200) -> Picture:
    """What compresses badly."""
    return pillow.effect_noise((width, height), 90).convert("RGB")


def page(*lines: str, width: int = 480) -> Picture:
    """Black text on white, line by line."""
    picture = pillow.new("RGB", (width, 40 + 56 * len(lines)), "white")
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        draw.text((30, 20 + 56 * row), line, fill="black", font=ImageFont.load_default(size=28))
    return picture
