"""`compose`: text, a picture and speech as one page or one video."""

from __future__ import annotations

from typing import Annotated, Any

from lanemesh import Audio, Context, Image, In, Node, Out, Video, Whole
from pydantic import BaseModel, Field

from lanemesh_services.shared.images import MAX_PIXELS, MOST_PIXELS


class Compose(Node):
    """Joins a text, a picture and speech, made in parallel, into one HTML page or one MP4 video.

    Takes one of each connected input. The page is self-contained: it loads nothing and runs no script. The video shows the picture
    with the text below, page by page, for as long as the speech lasts.
    """

    pip_extra = "video"
    python_packages = ("av", "PIL", "numpy")
    sync_mode = "zip_all"

    class Config(BaseModel):
        """Settings of the page and the video."""

        title: str = Field("", max_length=500, description="Title of the page, above its text.")
        language: str = Field(
            "en",
            pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$",
            description='Language of the text, such as "en" or "pt-BR".',
        )
        max_side: int = Field(
            1_200, ge=64, le=4_096, description="A longer side of the picture is reduced to this number of pixels."
        )
        width: int = Field(1_280, ge=64, le=3_840, multiple_of=2, description="Width of the video in pixels.")
        height: int = Field(720, ge=64, le=2_160, multiple_of=2, description="Height of the video in pixels.")
        seconds: float = Field(5, gt=0, le=600, description="Length of a video without speech.")
        max_seconds: float = Field(
            600, gt=0, le=3_600, description="Maximum length of a video; longer speech is an error."
        )
        font: str | None = Field(
            None,
            description="Path of a TrueType font for the text of the video; null: one for Latin script.",
            json_schema_extra={"format": "path"},
        )
        max_pixels: int = Field(
            MAX_PIXELS,
            ge=1,
            le=MOST_PIXELS,
            description="Maximum number of pixels of the picture; a larger one is an error.",
        )

    text: Annotated[In[Whole[str]], "The text."] = ""
    image: Annotated[In[Whole[Image]], "The picture."] = None  # type: ignore[assignment]
    audio: Annotated[In[Whole[Audio]], "The speech: a file, or uncompressed (audio/pcm)."] = None  # type: ignore[assignment]
    html: Annotated[Out[str], "The page."]
    video: Annotated[Out[Video], "The video (MP4)."]

    def process(self, context: Context) -> dict[str, Any]:
        """Joins one text, picture and speech."""
        from lanemesh_services.shared.images import decode
        from lanemesh_services.video.page import page
        from lanemesh_services.video.slideshow import slideshow

        picture = decode(self.image, max_pixels=self.config.max_pixels).picture if self.image is not None else None
        if picture is not None:
            picture.thumbnail((self.config.max_side, self.config.max_side))
        made: dict[str, Any] = {}
        if "html" in context.connected_outputs:
            made["html"] = page(self.text, picture, self.audio, title=self.config.title, language=self.config.language)
        if "video" in context.connected_outputs:
            made["video"] = slideshow(self.text, picture, self.audio, self.config, context)
        return made
