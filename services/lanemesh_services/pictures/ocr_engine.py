"""RapidOCR with the models of its own package: nothing is downloaded."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanemesh_services.shared.errors import import_failed, unusable
from lanemesh_services.shared.images import opaque

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MODELS = ("PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx", "ch_ppocr_mobile_v2.0_cls_mobile.onnx")
"""The files of the models: they find lines, read them, and turn them."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text."""

    text: str
    """Its text."""
    score: float
    """The confidence of the recognition, from 0 to 1."""
    box: list[list[int]]
    """Its corners in pixels, clockwise from the upper left."""

    @property
    def top(self) -> float:
        """Its vertical centre."""
        return sum(y for _, y in self.box) / len(self.box)

    @property
    def height(self) -> float:
        """Its height in pixels, of its left and right side."""
        return (abs(self.box[3][1] - self.box[0][1]) + abs(self.box[2][1] - self.box[1][1])) / 2

    @property
    def left(self) -> int:
        """Its left end."""
        return min(x for x, _ in self.box)


class OcrEngine:
    """The loaded models. One image is read at a time, by one thread."""

    def __init__(self, min_score: float, rotated: bool, max_side: int) -> None:
        """Loads the models. The arguments are the settings of `Ocr`.

        Raises:
            EngineMissing: the library is missing.
            ModelUnusable: its package lacks the models.
        """
        try:
            import rapidocr
            from rapidocr import RapidOCR
        except (ImportError, OSError) as error:
            raise import_failed("rapidocr", "ocr", "ocr", error) from error
        folder = Path(rapidocr.__file__).parent / "models"
        # A missing model would be downloaded at the first image.
        for name in MODELS:
            if not (folder / name).is_file():
                hint = "Install the library again with: pip install --force-reinstall 'lanemesh[ocr]'"
                raise unusable(folder / name, "the package rapidocr has no such file", hint)
        self._lock = threading.Lock()
        self._read = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.text_score": min_score,
                "Global.use_cls": rotated,
                "Global.max_side_len": max_side,
                # By default small images are enlarged to 736 pixels of their shorter side: a sign takes ten times as long, and
                # its line is found in two parts.
                "Det.limit_type": "max",
                "Det.limit_side_len": max_side,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        self._read(_example())  # models are loaded at the first text

    def rows(self, picture: Picture) -> list[list[Line]]:
        """The lines of a picture in rows from the top, and each row from the left."""
        import numpy as np

        pixels = np.asarray(opaque(picture))[:, :, ::-1]  # blue first, as OpenCV has it
        with self._lock:
            found: Any = self._read(pixels)
        if not found.txts:
            return []
        lines = [
            Line(text, round(float(score), 4), [[round(float(x)), round(float(y))] for x, y in box])
            for text, score, box in zip(found.txts, found.scores, found.boxes, strict=True)
            if text.strip()
        ]
        return in_rows(lines)


def in_rows(lines: list[Line]) -> list[list[Line]]:
    """Sorts lines into rows from the top, and each row from the left. Two lines are in one row if their centres differ by less than
    half of the height of the upper one."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.top):
        if rows and line.top - rows[-1][0].top < rows[-1][0].height / 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.left) for row in rows]


def _example() -> Any:
    """A picture with one word, blue first."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (160, 64), "white")
    ImageDraw.Draw(picture).text((20, 12), "Text", fill="black", font=ImageFont.load_default(size=32))
    return np.asarray(picture)
