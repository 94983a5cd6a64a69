"""`ocr`: the text of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from lanemesh import Context, Document, Image, In, Node, Out, Whole
from lanemesh.extend import in_thread
from pydantic import Field

from lanemesh_services.pictures.decoding import decode_image
from lanemesh_services.pictures.settings import ImageLimits
from lanemesh_services.shared.media_errors import described

if TYPE_CHECKING:
    from lanemesh_services.pictures.ocr_engine import OcrEngine


class Ocr(Node):
    """Reads the text of images: scans, photos and screenshots, in Latin and Chinese script.

    An image without text gives an empty text and a warning.
    """

    pip_extra = "ocr"
    python_packages = ("rapidocr", "onnxruntime", "PIL")

    class Config(ImageLimits):
        """Settings of the recognition."""

        min_score: float = Field(
            0.5, ge=0, le=1, description="Lines that are recognised with less confidence are dropped."
        )
        rotated: bool = Field(True, description="Find lines that are upside down, too.")
        max_side: int = Field(
            2_000,
            ge=64,
            le=8_000,
            description="A longer side of an image is reduced to this number of pixels: more finds smaller text, and is slower.",
        )

    image: Annotated[In[Whole[Image]], "The images."]
    text: Annotated[
        Out[str],
        "The text of each image: its rows from the top. Tabs separate the parts of a row, such as the cells of a table.",
    ]
    documents: Annotated[
        Out[Document],
        'The same as a document. Its metadata: `lines`, a list of {"text", "score", "box"} with the four corners of each line in '
        "pixels, `width` and `height` of the image, `score` (the mean), and `timestamp` if the image has one.",
    ]

    @classmethod
    async def load(cls, config: Any) -> OcrEngine:
        """Loads the models, which are part of the library."""
        from lanemesh_services.pictures.ocr_engine import OcrEngine

        return await in_thread(OcrEngine, config.min_score, config.rotated, config.max_side)

    def process(self, context: Context) -> dict[str, Any]:
        """Reads one image."""
        decoded = decode_image(self.image, context, max_pixels=self.config.max_pixels)
        rows = self.resource.rows(decoded.picture)
        if not rows:
            context.log.warning("%s has no text", described(self.image))
        text = "\n".join("\t".join(line.text for line in row) for row in rows)
        lines = [line for row in rows for line in row]
        metadata: dict[str, Any] = {
            "lines": [{"text": line.text, "score": line.score, "box": line.box} for line in lines],
            "width": decoded.picture.width,
            "height": decoded.picture.height,
        }
        if lines:
            metadata["score"] = round(sum(line.score for line in lines) / len(lines), 4)
        if self.image.timestamp is not None:
            metadata["timestamp"] = self.image.timestamp
        return {"text": text, "documents": Document(text, source=self.image.uri, metadata=metadata)}
