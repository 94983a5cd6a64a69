"""The steps of `image_convert`, over pictures of Pillow. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from lanemesh import Image

from lanemesh_services.shared.images import MOST_PIXELS, RAW, ImageFormat, encode, frames, opaque
from lanemesh_services.shared.media_errors import described, not_encoded, too_large

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_SAME = {"jpg": "jpeg", RAW.removeprefix("image/"): "raw"}


def convert(picture: Picture, image: Image, config: Any, *, exif: bytes = b"") -> Image:
    """Converts a picture by the settings of `ImageConvert`; `image` is where it comes from.

    Raises `MediaUnusable` if the crop is outside the image, or the format cannot hold the result.
    """
    if config.crop is not None:
        picture = _cropped(picture, image, config.crop)
    if config.rotate % 360:
        picture = _rotated(picture, config.rotate, config.background)
    if config.flip != "none":
        picture = _flipped(picture, horizontal=config.flip == "horizontal")
    picture = _resized(picture, config)
    if config.grey:
        picture = opaque(picture).convert("L")
    form = _format_of(image) if config.format == "keep" else config.format
    return encode(picture, form, quality=config.quality, exif=exif if config.exif else b"", like=image)


def convert_frames(image: Image, config: Any) -> Iterator[Image]:
    """Converts every frame of an animation; their timestamps count from that of the image. The errors are those of `convert`."""
    start = image.timestamp or 0.0
    for picture, at in frames(image, max_pixels=config.max_pixels):
        yield convert(picture, replace(image, timestamp=start + at), config)


def _format_of(image: Image) -> ImageFormat:
    name = image.mime_type.replace(" ", "").lower().removeprefix("image/")
    name = _SAME.get(name, name)
    return name if name in get_args(ImageFormat) else "png"  # type: ignore[return-value]


def _cropped(picture: Picture, image: Image, crop: Any) -> Picture:
    across, down = (picture.width, picture.height) if crop.relative else (1, 1)
    left, top = round(crop.left * across), round(crop.top * down)
    right, bottom = left + round(crop.width * across), top + round(crop.height * down)
    right, bottom = min(right, picture.width), min(bottom, picture.height)
    if left >= right or top >= bottom:
        raise not_encoded(
            described(image),
            f"config.crop begins at {left}, {top}, and the image has {picture.width} x {picture.height} pixels",
            "Use a crop within the image, or fractions of its size with crop.relative",
        )
    return picture.crop((left, top, right, bottom))


def _rotated(picture: Picture, degrees: float, background: str) -> Picture:
    from PIL.Image import Resampling, Transpose

    turns = {90: Transpose.ROTATE_270, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_90}
    turn = turns.get(int(degrees % 360)) if degrees == int(degrees) else None
    if turn is not None:
        return picture.transpose(turn)
    fill = background if picture.mode == "RGB" else None
    if picture.mode == "L":
        picture, fill = picture.convert("RGB"), background
    return picture.rotate(-degrees, Resampling.BICUBIC, expand=True, fillcolor=fill)


def _flipped(picture: Picture, *, horizontal: bool) -> Picture:
    from PIL.Image import Transpose

    return picture.transpose(Transpose.FLIP_LEFT_RIGHT if horizontal else Transpose.FLIP_TOP_BOTTOM)


def _resized(picture: Picture, config: Any) -> Picture:
    from PIL import Image as pillow
    from PIL import ImageOps

    width, height = config.width, config.height
    if width is None and height is None:
        return picture
    across, down = (width or 0) / picture.width, (height or 0) / picture.height
    if config.fit == "stretch":
        size = _bounded(width or picture.width, height or picture.height, config)
        return picture if size == picture.size else picture.resize(size, _filter(picture, size))
    if config.fit == "cover" and width is not None and height is not None:
        if not config.enlarge and max(across, down) > 1:
            scale = max(across, down)
            width, height = max(1, round(width / scale)), max(1, round(height / scale))
        return ImageOps.fit(picture, _bounded(width, height, config), pillow.Resampling.LANCZOS)
    scale = min(factor for factor in (across, down) if factor)
    if scale > 1 and not config.enlarge:
        scale = 1.0
    size = _bounded(max(1, round(picture.width * scale)), max(1, round(picture.height * scale)), config)
    if size != picture.size:
        picture = picture.resize(size, _filter(picture, size))
    if config.fit == "pad":
        picture = _padded(picture, *_bounded(width, height, config), config.background)
    return picture


def _bounded(width: int, height: int, config: Any) -> tuple[int, int]:
    """The size of a result. Raises `MediaUnusable` if it has too many pixels."""
    if width * height > config.max_pixels:
        raise too_large(
            f"a picture of {width:,} x {height:,} pixels",
            f"the limit is {config.max_pixels:,} pixels",
            f"Reduce config.width or config.height, or raise config.max_pixels (at most {MOST_PIXELS:,})",
        )
    return width, height


def _padded(picture: Picture, width: int, height: int, background: str) -> Picture:
    from PIL import Image as pillow

    canvas = pillow.new("RGB", (width, height), background)
    place = ((width - picture.width) // 2, (height - picture.height) // 2)
    canvas.paste(picture, place, picture.getchannel("A") if picture.mode == "RGBA" else None)
    return canvas


def _filter(picture: Picture, size: tuple[int, int]) -> Any:
    """Lanczos where the picture shrinks; bicubic where it grows."""
    from PIL.Image import Resampling

    return Resampling.LANCZOS if size[0] < picture.width else Resampling.BICUBIC
