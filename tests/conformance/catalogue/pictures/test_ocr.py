"""`ocr` on real images, with the models of its library."""

from __future__ import annotations

import pytest
from lanemesh import Image, Pipeline
from lanemesh.testing import run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.pictures.ocr import Ocr
from PIL import Image as pillow

from rigs.pictures import image_of, page

pytestmark = pytest.mark.model


def test_text_and_places_of_the_lines() -> None:
    scan = page("Invoice No. 2026-0042", "Total: 119.00 EUR")
    image = image_of(scan)
    blank = image_of(pillow.new("RGB", (100, 100), "white"))
    broken = Image("image/png", image.content[:400])
    result = run_node(Ocr, image=[image, blank, broken], on_error="skip", timeout=60)
    assert result.text == ["Invoice No. 2026-0042\nTotal: 119.00 EUR", ""]
    assert result.skipped == 1
    first, second = result.documents
    assert first.content == result.text[0]
    top, bottom = first.metadata["lines"]
    assert top["score"] > 0.9
    assert (top["box"][0][1], bottom["box"][0][1]) == (pytest.approx(25, abs=12), pytest.approx(81, abs=12))
    assert (first.metadata["width"], first.metadata["height"]) == scan.size
    assert (second.content, list(second.metadata["lines"])) == ("", [])


async def test_in_a_pipeline_made_for_rocketride() -> None:
    pipeline = Pipeline()
    source = pipeline.add("webhook")
    ocr = pipeline.add("ocr")
    source.image >> ocr.image
    ocr.text >> pipeline.add("response_text").text
    async with Mesh() as mesh:
        result = await mesh.run(pipeline, input=image_of(page("A sign"))).result()
    assert list(result.values) == ["A sign"]
