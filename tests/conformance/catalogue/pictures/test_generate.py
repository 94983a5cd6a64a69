"""`image_generate` and `image_classify` with tiny random models."""

from __future__ import annotations

from pathlib import Path

import pytest
from lanemesh import Image, Node, OutputUpdate, Pipeline, ProgressUpdate
from lanemesh.testing import run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.pictures.classify import ImageClassify
from lanemesh_services.pictures.generate import ImageGenerate
from lanemesh_services.pictures.tiny import LABELS
from lanemesh_services.shared.errors import ModelMissing, ModelUnusable
from lanemesh_services.shared.media_errors import MediaUnusable

from rigs.pictures import gradient, image_of, picture_of

pytestmark = pytest.mark.model

TINY = ImageGenerate.profiles["tiny-random"]


def test_the_steps_stream_before_the_image_and_the_seed_decides() -> None:
    first = run_node(ImageGenerate, config=TINY, text=["a red fox", "a blue bird"], timeout=120)
    assert [len(first.steps), len(first.generated)] == [2 * 3, 2]
    assert {picture_of(image).size for image in (*first.steps, *first.generated)} == {(64, 64)}
    assert len({image.content for image in (*first.steps, *first.generated)}) == 8
    again = run_node(ImageGenerate, config=TINY, text="a red fox", timeout=120)
    assert again.generated == first.generated[:1]
    other = run_node(ImageGenerate, config={**TINY, "seed": 7}, text="a red fox", timeout=120)
    assert other.generated != again.generated
    progress = [update for update in again.updates if isinstance(update, ProgressUpdate)]
    assert (progress[-1].done, progress[-1].total) == (4, 4)


def test_an_image_at_the_input_is_varied() -> None:
    config = {**TINY, "strength": 0.5}
    arrivals = [("image", image_of(gradient(64, 64))), ("text", "a fox")]
    varied = run_node(ImageGenerate, config=config, arrivals=arrivals, timeout=120)
    plain = run_node(ImageGenerate, config=config, text="a fox", timeout=120)
    assert len(varied.generated) == 1
    assert varied.generated != plain.generated


def test_a_prompt_that_is_too_long_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    result = run_node(ImageGenerate, config={**TINY, "steps": 1}, text="a fox " * 100, timeout=120)
    assert len(result.generated) == 1
    assert "does not read the last" in caplog.text
    with pytest.raises(MediaUnusable, match="30,000 characters, and the limit is 20,000"):
        run_node(ImageGenerate, config=TINY, text="x" * 30_000, timeout=120)


async def test_a_cancelled_run_stops_at_the_next_step() -> None:
    pipeline = Pipeline()
    generate = pipeline.add("image_generate", profile="tiny-random", steps=200)
    pipeline.add("chat").text >> generate.text
    out = pipeline.add("response")
    generate.steps >> out.image
    generate.generated >> out.image
    async with Mesh() as mesh:
        async with mesh.run(pipeline, input="a fox") as run:
            async for update in run.updates():
                if isinstance(update, OutputUpdate):
                    await run.cancel()
        # The model is free again: another run is not kept waiting by the steps that were left.
        short = {"image_generate_1.steps": 2, "image_generate_1.preview_every": 0}
        result = await mesh.run(pipeline, input="a fox", settings=short).result()
        assert len(result.values) == 1


@pytest.mark.parametrize(("node", "port"), [(ImageGenerate, "text"), (ImageClassify, "image")])
def test_a_folder_that_is_no_model_is_named(tmp_path: Path, node: type[Node], port: str) -> None:
    arrivals = [(port, "a fox" if port == "text" else image_of(gradient()))]
    with pytest.raises(ModelUnusable, match=str(tmp_path)):
        run_node(node, config={"model": str(tmp_path)}, arrivals=arrivals, timeout=60)
    with pytest.raises(ModelMissing, match="neither as a file or folder"):
        run_node(node, config={"model": "no-such-model"}, arrivals=arrivals, timeout=60)


def test_labels_have_probabilities_and_a_broken_image_is_skipped() -> None:
    images = [image_of(gradient()), Image("image/png", b"broken"), image_of(gradient().rotate(180))]
    result = run_node(ImageClassify, config={"model": "tiny-random"}, image=images, on_error="skip", timeout=60)
    assert result.skipped == 1
    for label, labels in zip(result.label, result.labels, strict=True):
        assert {one["label"] for one in labels} == set(LABELS)
        assert sum(one["score"] for one in labels) == pytest.approx(1, abs=1e-4)
        scores = [one["score"] for one in labels]
        assert scores == sorted(scores, reverse=True)
        assert label == labels[0]["label"]
    few = run_node(ImageClassify, config={"model": "tiny-random", "top": 2, "min_score": 0.99}, image=images[0])
    assert (few.label, few.labels) == ([], [[]])
