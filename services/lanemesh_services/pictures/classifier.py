"""Image classifiers of transformers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lanemesh_services.pictures.quiet import quieten
from lanemesh_services.pictures.tiny import tiny_classifier
from lanemesh_services.shared.errors import import_failed, unusable
from lanemesh_services.shared.images import opaque
from lanemesh_services.shared.models import TINY_RANDOM, resolve

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


class Classifier:
    """A loaded model. One batch is classified at a time, by one thread."""

    def __init__(self, model: str) -> None:
        """Loads a model, a folder or "tiny-random". Nothing is downloaded.

        Raises:
            EngineMissing: transformers or torch is missing.
            ModelMissing: there is no such folder.
            ModelUnusable: the folder has no image classifier.
        """
        try:
            import torch
            from transformers import AutoImageProcessor, AutoModelForImageClassification
        except (ImportError, OSError) as error:
            raise import_failed("transformers", "image_classify", "image-models", error) from error
        quieten()
        folder = tiny_classifier() if model == TINY_RANDOM else resolve(model, suggested=TINY_RANDOM)
        try:
            self._processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
            self._model: Any = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            hint = "Give the folder of an image classifier that transformers has saved, with preprocessor_config.json."
            raise unusable(folder, f"transformers cannot load it: {error}"[:1_000].rstrip("."), hint) from error
        self._model.eval()
        self._torch = torch
        self._lock = threading.Lock()

    def scores(self, pictures: Sequence[Picture]) -> list[list[tuple[str, float]]]:
        """The labels of each picture with their probabilities, the most probable first."""
        names = self._model.config.id2label
        with self._lock, self._torch.no_grad():
            pixels = self._processor(images=[opaque(picture) for picture in pictures], return_tensors="pt")
            rows = self._model(**pixels).logits.softmax(-1).tolist()
        return [
            sorted(((str(names[place]), score) for place, score in enumerate(row)), key=lambda pair: -pair[1])
            for row in rows
        ]
