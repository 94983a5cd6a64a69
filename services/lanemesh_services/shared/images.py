"""Images as bytes, and as pictures of Pillow: bounded decoding, and encoding.

Pillow is imported when a function is first called. What clients send is not trusted: only the formats of `FORMATS` are read, and
the size is checked before any pixel is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lanemesh import Image

from lanemesh_services.shared.media_errors import described, no_bytes, not_decoded, not_encoded, too_large

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
"""The formats of Pillow that are read. Others may start programs or read further files."""
MAX_PIXELS = 50_000_000
"""Default of the most pixels of an image: 200 MB while it is decoded."""
MOST_PIXELS = 89_478_485
"""The greatest setting: the number above which Pillow itself warns."""
RAW = "image/x-raw;format=rgb24"
"""The media type of uncompressed images: rows from the top, three bytes a pixel (red, green, blue), without padding. The size is
in `width` and `height`."""

ImageFormat = Literal["png", "jpeg", "webp", "gif", "bmp", "tiff", "avif", "raw"]
"""Formats that are written."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image."""

    picture: Picture
    """Its pixels: mode RGB, RGBA or L, upright."""
    reduced_from: tuple[int, int] | None = None
    """The size in its file, if it was reduced while it was decoded."""
    frames: int = 1
    """The number of frames of an animation, of which this is the first."""
    exif: bytes = b""
    """The EXIF data of the file, without the orientation, which has been applied."""


def decode(image: Image, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decodes an image, the first frame of an animation.

    A JPEG file beyond `max_pixels` is reduced by 2, 4 or 8 while it is decoded. Images of 16 bits are scaled to 8, and those in
    CMYK and the like converted to RGB.

    Raises:
        MediaUnusable: it is empty, broken, truncated, of another format, or has too many pixels.
    """
    if raw := _raw(image, max_pixels):
        return Decoded(raw)
    file, reduced_from = _open(image, max_pixels)
    try:
        frames = getattr(file, "n_frames", 1)
        exif = file.getexif()
        file.load()
        picture = _upright(_plain(file, image), exif)
    except Exception as error:  # decoders raise almost anything about broken files
        raise _broken(image, error) from error
    return Decoded(picture, reduced_from, frames, exif.tobytes() if exif else b"")


def frames(image: Image, *, max_pixels: int = MAX_PIXELS) -> Iterator[tuple[Picture, float]]:
    """All frames of an animation, each with its time in seconds from the start. The arguments and errors are those of `decode`."""
    file, _ = _open(image, max_pixels)
    at = 0.0
    index = 0
    while True:
        try:
            file.seek(index)
            file.load()
            picture = _upright(_plain(file, image), file.getexif())
            shown = float(file.info.get("duration") or 0)
        except EOFError:
            return
        except Exception as error:
            raise _broken(image, error) from error
        yield picture, at
        at += shown / 1000
        index += 1


def encode(
    picture: Picture, form: ImageFormat, *, quality: int = 90, exif: bytes = b"", like: Image | None = None
) -> Image:
    """Encodes a picture.

    Args:
        picture: its mode is RGB, RGBA or L. Transparency becomes white in formats that have none.
        form: the format; "raw" is `RAW`.
        quality: of JPEG, WEBP and AVIF, from 1 to 100.
        exif: EXIF data to keep, where the format has it.
        like: an image whose timestamp and rate are kept.

    Raises:
        MediaUnusable: the format cannot hold a picture of this size.
    """
    place = {"timestamp": like.timestamp, "rate": like.rate} if like is not None else {}
    if form == "raw":
        content = opaque(picture).tobytes()
        return Image(RAW, content, width=picture.width, height=picture.height, **place)  # type: ignore[arg-type]
    written = picture if form in ("png", "webp", "tiff", "avif", "gif") else opaque(picture, keep_grey=True)
    options: dict[str, Any] = {"quality": quality} if form in ("jpeg", "webp", "avif") else {}
    if exif and form in ("jpeg", "png", "webp", "avif", "tiff"):
        options["exif"] = exif
    if form == "tiff":
        options["compression"] = "tiff_deflate"
    buffer = io.BytesIO()
    try:
        written.save(buffer, format=form.upper(), **options)
    except Exception as error:
        raise not_encoded(
            f"a picture of {picture.width} x {picture.height} pixels as {form}",
            str(error) or type(error).__name__,
            "Use another format, such as png, or a smaller size",
        ) from error
    return Image(f"image/{form}", buffer.getvalue(), width=picture.width, height=picture.height, **place)  # type: ignore[arg-type]


def opaque(picture: Picture, *, keep_grey: bool = False) -> Picture:
    """The same picture as RGB, its transparent parts on white."""
    if keep_grey and picture.mode == "L":
        return picture
    if picture.mode != "RGBA":
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    from PIL import Image as pillow

    white = pillow.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def _raw(image: Image, max_pixels: int) -> Picture | None:
    """The picture of an uncompressed image; None if it is something else."""
    if image.mime_type.replace(" ", "").lower() != RAW or not image.content:
        return None
    from PIL import Image as pillow

    _check_size(image, image.width, image.height, max_pixels)
    if len(image.content) != image.width * image.height * 3:
        why = f"{image.width} x {image.height} pixels of three bytes are {image.width * image.height * 3:,} bytes"
        raise not_decoded(image, why, "Send the whole image, with its width and height")
    return pillow.frombytes("RGB", (image.width, image.height), image.content)


def _open(image: Image, max_pixels: int) -> tuple[Any, tuple[int, int] | None]:
    """Reads the header of an image. Returns the file, and its size if it is reduced while it is decoded."""
    if not image.content:
        raise no_bytes(image)
    from PIL import Image as pillow
    from PIL.JpegImagePlugin import JpegImageFile

    stream = io.BytesIO(image.content)
    try:
        # Pillow's own limit is for all formats; a JPEG file can be reduced while it is decoded.
        is_jpeg = image.content.startswith(b"\xff\xd8\xff")
        file = JpegImageFile(stream) if is_jpeg else pillow.open(stream, formats=FORMATS)
    except pillow.DecompressionBombError:
        raise too_large(
            image, f"it has more than {2 * MOST_PIXELS:,} pixels", "Reduce it before, or send it as a JPEG file"
        ) from None
    except pillow.UnidentifiedImageError as error:
        hint = f"Send one of {', '.join(form.lower() for form in FORMATS)}, and the whole file"
        raise not_decoded(image, "it is no image of a known format", hint) from error
    except Exception as error:
        raise _broken(image, error) from error
    width, height = file.size
    if is_jpeg and width * height > max_pixels and not file.info.get("progressive"):
        scale = next((scale for scale in (2, 4, 8) if width * height <= max_pixels * scale * scale), 8)
        file.draft(file.mode, (max(1, width // scale), max(1, height // scale)))
        _check_size(image, file.width, file.height, max_pixels)
        return file, (width, height)
    _check_size(image, width, height, max_pixels)
    return file, None


def _check_size(image: Image, width: int, height: int, max_pixels: int) -> None:
    if not width or not height:
        raise not_decoded(image, f"its size is {width} x {height} pixels", "Send an image with at least one pixel")
    if width * height > max_pixels:
        raise too_large(
            image,
            f"it has {width:,} x {height:,} pixels, and the limit is {max_pixels:,} pixels",
            f"Reduce it before, or raise config.max_pixels (at most {MOST_PIXELS:,})",
        )


def _plain(file: Any, image: Image) -> Picture:
    """The pixels with 8 bits a channel, in mode RGB, RGBA or L."""
    mode = file.mode
    if mode in ("RGB", "RGBA", "L"):
        return file.copy()
    if mode == "1":
        return file.convert("L")
    if mode.startswith("I;16") or mode == "I":
        if mode == "I" and file.getextrema()[1] > 0xFFFF:
            raise not_decoded(image, "its pixels have 32 bits", "Convert it to 8 or 16 bits before")
        return file.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if mode == "F":
        raise not_decoded(image, "its pixels are floating-point numbers", "Convert it to 8 or 16 bits before")
    has_alpha = "A" in mode.upper() and mode != "LAB"
    return file.convert("RGBA" if has_alpha or "transparency" in file.info else "RGB")


def _upright(picture: Picture, exif: Any) -> Picture:
    """Turns a picture as its EXIF orientation says, and removes that from the data."""
    from PIL import ExifTags
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(exif.pop(ExifTags.Base.Orientation, 1))
    return picture.transpose(turn) if turn is not None else picture


def _broken(image: Image, error: Exception) -> Exception:
    if hasattr(error, "fault"):
        return error
    what = str(error) or type(error).__name__
    return not_decoded(f"{described(image)}", what, "Check that the file is whole, and that a viewer opens it")
