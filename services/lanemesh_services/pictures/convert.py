"""`image_convert`: images in other formats and sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from lanemesh import Context, Image, In, Node, Out, Whole
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lanemesh_services.pictures.decoding import decode_image
from lanemesh_services.pictures.settings import ImageLimits
from lanemesh_services.shared.images import ImageFormat

MAX_SIDE = 16_000
"""Most pixels of a side of the result."""


class Crop(BaseModel):
    """A part of an image, in pixels, or as fractions of the size with `relative`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    left: float = Field(0, ge=0, description="Distance of its left side from that of the image.")
    top: float = Field(0, ge=0, description="Distance of its upper side from that of the image.")
    width: float = Field(gt=0, description="Its width.")
    height: float = Field(gt=0, description="Its height.")
    relative: bool = Field(False, description="The numbers are fractions of the size of the image, from 0 to 1.")


class ImageConvert(Node):
    """Converts images: format, crop, rotation, size. Photos are turned upright by their EXIF data.

    The order is: crop, rotate, flip, size, grey. Timestamps are kept.
    """

    pip_extra = "pictures"
    python_packages = ("PIL", "numpy")

    class Config(ImageLimits):
        """Settings of the conversion."""

        format: ImageFormat | Literal["keep"] = Field(
            "keep",
            description='Format of the result; "keep": that of the image, or png; "raw": uncompressed, three bytes a pixel.',
        )
        quality: int = Field(90, ge=1, le=100, description="Quality of JPEG, WEBP and AVIF.")
        crop: Crop | None = Field(None, description="The part of the image that is kept; null: all of it.")
        rotate: float = Field(
            0, ge=-360, le=360, description="Degrees by which it is rotated, clockwise; the result is larger."
        )
        flip: Literal["none", "horizontal", "vertical"] = Field("none", description="Mirror it.")
        width: int | None = Field(None, ge=1, le=MAX_SIDE, description="Width in pixels; null: as `height` asks for.")
        height: int | None = Field(None, ge=1, le=MAX_SIDE, description="Height in pixels; null: as `width` asks for.")
        fit: Literal["contain", "cover", "pad", "stretch"] = Field(
            "contain",
            description=(
                "With width and height: contain fits the image into them, cover fills them and crops the rest, pad adds "
                "`background`, stretch changes the proportions."
            ),
        )
        enlarge: bool = Field(
            False, description="Enlarge images that are smaller than the size; they are kept otherwise."
        )
        grey: bool = Field(False, description="Convert to shades of grey.")
        background: str = Field(
            "#ffffff",
            pattern=r"^#[0-9a-fA-F]{6}$",
            description="Colour of the corners of a rotation, and of `pad`: #rrggbb.",
        )
        exif: bool = Field(
            False, description="Keep the EXIF data, such as the time and the place of a photo, where the format has it."
        )
        frames: Literal["first", "all"] = Field(
            "first",
            description="Frames of an animation: the first, or all of them, each as an image with its timestamp.",
        )

        @model_validator(mode="after")
        def _pad_needs_a_size(self) -> ImageConvert.Config:
            if self.fit == "pad" and (self.width is None or self.height is None):
                raise ValueError('fit "pad" needs both width and height')
            return self

    image: Annotated[In[Whole[Image]], "The images."]
    converted: Annotated[Out[Image], "The converted images."]

    def gen_process(self, context: Context) -> Iterator[tuple[str, Any]]:
        """Converts one image, or each frame of an animation."""
        from lanemesh_services.pictures.conversion import convert, convert_frames

        if self.config.frames == "all":
            for frame in convert_frames(self.image, self.config):
                yield "converted", frame
        else:
            decoded = decode_image(self.image, context, max_pixels=self.config.max_pixels)
            yield "converted", convert(decoded.picture, self.image, self.config, exif=decoded.exif)
