"""Images for a model on llama.cpp that has a projector."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lanemesh import ChatRequest, Image, LanemeshError, Message, Sampling
from lanemesh_services.llm.llamacpp import LlamaCppEngine
from lanemesh_services.llm.llamacpp_server import LlamaCppOptions
from lanemesh_services.llm.tiny import tiny_gguf
from lanemesh_services.shared.errors import GenerationRefused, ModelUnusable

from conformance.llm.projectors import png, write_projector
from conformance.llm.turns import read_turn, without

pytestmark = without("xllamacpp", "gguf", "tokenizers")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[LlamaCppEngine]:
    projector = write_projector(tmp_path / "mmproj.gguf")
    options = LlamaCppOptions(path=tiny_gguf(), context_length=256, slots=1, threads=1, projector=projector)
    engine = LlamaCppEngine.load(options)
    yield engine
    await engine.close()


def asking(*images: Image) -> ChatRequest:
    messages = (Message("system", "Be brief."), Message("user", "What is it?", images=images))
    return ChatRequest(messages, sampling=Sampling(max_tokens=4, seed=1))


async def test_an_image_is_part_of_the_prompt(engine: LlamaCppEngine) -> None:
    without_image = await read_turn(engine.chat(asking()))
    with_image = await read_turn(engine.chat(asking(Image("image/png", png()))))
    patches = 4
    assert with_image.done.usage.prompt_tokens >= without_image.done.usage.prompt_tokens + patches
    assert with_image.done.finish_reason in ("stop", "length")


async def test_an_image_that_cannot_be_decoded_is_an_error_and_the_model_goes_on(engine: LlamaCppEngine) -> None:
    with pytest.raises(LanemeshError):
        await read_turn(engine.chat(asking(Image("image/png", b"no image"))))
    assert (await read_turn(engine.chat(asking()))).done.usage.prompt_tokens > 0


async def test_an_image_with_an_address_is_refused(engine: LlamaCppEngine) -> None:
    with pytest.raises(GenerationRefused, match="reads only the bytes"):
        await read_turn(engine.chat(asking(Image("image/png", uri="https://example.com/a.png"))))


def test_a_file_that_is_no_projector_is_refused() -> None:
    with pytest.raises(ModelUnusable, match="no projector of images"):
        LlamaCppEngine.load(LlamaCppOptions(path=tiny_gguf(), projector=tiny_gguf()))
