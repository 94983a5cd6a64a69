"""Nodes of images in pipelines: files of several pieces, images of several runs, chains."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from lanemesh import Image, Pipeline
from lanemesh.testing import run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.pictures.classify import ImageClassify
from lanemesh_services.pictures.convert import ImageConvert
from PIL import Image as pillow

from rigs.pictures import gradient, image_of


async def test_a_file_of_several_pieces_is_one_image(tmp_path: Path) -> None:
    image = image_of(pillow.new("RGB", (2_000, 2_000), "teal"), "bmp")
    assert len(image.content) > 8 * 1024 * 1024
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "large.bmp").write_bytes(image.content)
    (tmp_path / "scans" / "small.png").write_bytes(image_of(gradient()).content)
    pipeline = Pipeline()
    source = pipeline.add("directory", path=str(tmp_path / "scans"), watch=False)
    convert = pipeline.add(ImageConvert, width=100, format="png")
    source.image >> convert.image
    convert.converted >> pipeline.add("response", lane="image").image
    async with Mesh() as mesh:
        result = await mesh.run(pipeline).result()
    result.raise_for_state()
    assert sorted((image.width, image.height) for image in result.values) == [(64, 48), (100, 100)]


@pytest.mark.model
async def test_images_of_several_runs_are_classified_as_if_alone() -> None:
    images = [image_of(gradient(width, 60)) for width in (60, 90, 120, 150)]
    alone = [(await asyncio.to_thread(_labels, image)) for image in images]
    pipeline = Pipeline()
    classify = pipeline.add(ImageClassify, profile="tiny-random")
    pipeline.add("webhook").image >> classify.image
    classify.labels >> pipeline.add("response", lane="data").data
    async with Mesh() as mesh:
        results = await asyncio.gather(*(mesh.run(pipeline, input=image).result() for image in images))
    for result, expected in zip(results, alone, strict=True):
        (labels,) = result.values
        assert [one["label"] for one in labels] == [one["label"] for one in expected]
        assert [one["score"] for one in labels] == pytest.approx([one["score"] for one in expected], abs=1e-4)


def _labels(image: Image) -> list[dict[str, float]]:
    (labels,) = run_node(ImageClassify, config={"model": "tiny-random"}, image=image, timeout=60).labels
    return list(labels)


@pytest.mark.model
async def test_a_picture_is_cut_and_repainted_over_grpc() -> None:
    pipeline = Pipeline()
    cut, style = (
        pipeline.add("image_convert", width=80, height=60, fit="cover"),
        pipeline.add("image_style", previews=1),
    )
    pipeline.add("webhook").image >> cut.port("image", lane="image")
    cut.port("converted", lane="image") >> style.port("image", lane="image")
    style.port("steps", lane="image") >> pipeline.add("response", id="steps", lane="image").image
    style.port("styled", lane="image") >> pipeline.add("response", id="styled", lane="image").image
    async with Mesh("service") as mesh:
        result = await mesh.run(pipeline, input=image_of(gradient(200, 200))).result()
    result.raise_for_state()
    assert [(image.width, image.height) for image in result.values][-1] == (80, 60)
    assert len(result.values) == 2
