"""`image_classify`: what images show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from lanemesh import Batch, Image, In, Node, Out, Whole
from pydantic import Field

from lanemesh_services.pictures.decoding import decode_image
from lanemesh_services.pictures.engines import Loaded, give_back, take
from lanemesh_services.pictures.settings import ImageLimits
from lanemesh_services.shared.media_errors import MediaUnusable
from lanemesh_services.shared.models import TINY_RANDOM

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from lanemesh_services.pictures.classifier import Classifier

MAX_SIDE = 1_024
"""Larger images are reduced to this number of pixels of a side before they wait for their batch; models read fewer."""


class ImageClassify(Node):
    """Classifies images with a model of transformers: labels with their probabilities."""

    pip_extra = "image-models"
    python_packages = ("torch", "transformers", "PIL")
    batch = Batch(max=16, within=0.005)
    profiles: ClassVar = {TINY_RANDOM: {"model": TINY_RANDOM}}

    class Config(ImageLimits):
        """Settings of the classification."""

        model: str = Field(
            description='Folder of an image classifier for transformers; "tiny-random": a generated one for tests.',
            json_schema_extra={"format": "path-or-name"},
        )
        top: int = Field(5, ge=1, le=1_000, description="Maximum number of labels of an image.")
        min_score: float = Field(0, ge=0, le=1, description="Labels with a smaller probability are dropped.")

    image: Annotated[In[Whole[Image]], "The images."]
    label: Annotated[Out[str], "The most probable label of each image; nothing if all are below `min_score`."]
    labels: Annotated[
        Out[list[Any]], 'The labels of each image, the most probable first: [{"label": ..., "score": ...}].'
    ]

    @classmethod
    async def load(cls, config: Any) -> Loaded[Classifier]:
        """Loads the model, unless this process has the same one already."""
        from lanemesh_services.pictures.classifier import Classifier

        return await take(Classifier, config.model)

    @classmethod
    async def unload(cls, resource: Loaded[Classifier]) -> None:
        """Frees the model, unless another component uses it."""
        await give_back(resource)

    def process(self, items: list[ImageClassify]) -> list[Any]:
        """Classifies the images of several firings at once."""
        results: list[Any] = []
        pictures: list[Picture] = []
        for item in items:
            try:
                picture = decode_image(item.image, item.context, max_pixels=self.config.max_pixels).picture
                picture.thumbnail((MAX_SIDE, MAX_SIDE))
                pictures.append(picture)
                results.append(None)
            except MediaUnusable as error:
                results.append(error)
        rows = iter(self.resource.engine.scores(pictures) if pictures else [])
        return [self._labels(next(rows)) if result is None else result for result in results]

    def _labels(self, scores: list[tuple[str, float]]) -> dict[str, Any]:
        """The outputs of one image, from its labels and their probabilities, the most probable first."""
        found = [
            {"label": label, "score": round(score, 6)}
            for label, score in scores[: self.config.top]
            if score >= self.config.min_score
        ]
        return {"labels": found, **({"label": found[0]["label"]} if found else {})}
