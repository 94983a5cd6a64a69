"""Settings that several nodes of images have."""

from __future__ import annotations

from pydantic import BaseModel, Field

from lanemesh_services.shared.images import MAX_PIXELS, MOST_PIXELS


class ImageLimits(BaseModel):
    """The bound of the images that a node reads."""

    max_pixels: int = Field(
        MAX_PIXELS,
        ge=1,
        le=MOST_PIXELS,
        description=(
            "Maximum number of pixels of an image. A larger JPEG file is reduced by 2, 4 or 8 while it is decoded, with a "
            "warning; any other larger image is an error."
        ),
    )
