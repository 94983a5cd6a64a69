"""Decodes the images of a node, with warnings of what is left out."""

from __future__ import annotations

from lanemesh import Context, Image

from lanemesh_services.shared.images import Decoded, decode
from lanemesh_services.shared.media_errors import described


def decode_image(image: Image, context: Context, *, max_pixels: int) -> Decoded:
    """Decodes an image, or the first frame of an animation; a warning reports what is reduced or left out.

    Raises `MediaUnusable` if it cannot be decoded, or has too many pixels.
    """
    decoded = decode(image, max_pixels=max_pixels)
    if decoded.reduced_from is not None:
        width, height = decoded.reduced_from
        context.log.warning(
            "%s has %d x %d pixels; it is reduced to %d x %d, because config.max_pixels is %d",
            *(described(image), width, height, decoded.picture.width, decoded.picture.height, max_pixels),
        )
    if decoded.frames > 1:
        context.log.warning("%s has %d frames; only the first is read", described(image), decoded.frames)
    return decoded
