"""Language models on simulated GPUs: loaded and used under leases, and unloaded when others need the memory."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lanemesh.gpu import arbiter
from lanemesh_orchestrator import Mesh
from lanemesh_services.llm.nodes import LanguageModel, LlmLlamacpp, LlmTransformers
from lanemesh_services.llm.on_gpu import folder_bytes, llamacpp_uses_gpu, transformers_uses_gpu

from conformance.llm.turns import without
from rigs.runs import chat, pipeline, response

KINDS = [
    pytest.param(LlmLlamacpp, id="llamacpp", marks=without("xllamacpp", "gguf", "tokenizers")),
    pytest.param(LlmTransformers, id="transformers", marks=without("torch", "transformers", "gguf", "tokenizers")),
]
pytestmark = [pytest.mark.model, pytest.mark.timeout(180)]


def config(kind: type[LanguageModel], **changes: Any) -> dict[str, Any]:
    return {**kind.profiles["tiny-random"], "seed": 7, "threads": 1, **changes}


def component(kind: type[LanguageModel], name: str, **changes: Any) -> dict[str, Any]:
    lanes = [{"lane": "questions", "from": "chat"}]
    return {"id": name, "provider": kind.provider, "config": config(kind, **changes), "input": lanes}


def use_gpus(monkeypatch: pytest.MonkeyPatch, folder: Path, size: int) -> None:
    monkeypatch.setenv("LANEMESH_GPUS", f"sim:0={size}B")
    monkeypatch.setattr(arbiter, "_embedded", None)


def size_of(kind: type[LanguageModel]) -> int:
    return kind.gpu_bytes(kind.Config.model_validate(config(kind)))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_model_stays_on_the_gpu_and_leaves_it_for_another_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[LanguageModel]
) -> None:
    use_gpus(monkeypatch, tmp_path, 1 << 40)
    size = size_of(kind)
    use_gpus(monkeypatch, tmp_path, size * 3 // 2)
    async with Mesh() as mesh:
        names: list[str] = []
        for length in (512, 256):
            document = pipeline(chat(), component(kind, "llm", context_length=length), response("llm"))
            for _ in range(2):
                result = await mesh.run(document, input="Hello").result()
                assert result.state == "completed", result.error
            (device,) = arbiter.embedded_arbiter().status()
            assert not device.leases
            (model,) = device.models
            names.append(model.model)
            assert model.memory_bytes <= size
        assert names[0] != names[1]
    assert not arbiter.embedded_arbiter().status()[0].models


@pytest.mark.parametrize("kind", KINDS)
async def test_answers_of_one_model_share_its_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[LanguageModel]
) -> None:
    use_gpus(monkeypatch, tmp_path, 1 << 40)
    use_gpus(monkeypatch, tmp_path, size_of(kind) * 3 // 2)
    document = pipeline(chat(), component(kind, "llm", max_tokens=4), response("llm"))
    async with Mesh() as mesh:
        results = await asyncio.gather(*(mesh.run(document, input=f"Hello {number}").result() for number in range(3)))
    assert [result.state for result in results] == ["completed"] * 3


def test_without_a_gpu_no_lease_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LANEMESH_GPUS", raising=False)
    assert not transformers_uses_gpu("cpu")
    assert not folder_bytes(tmp_path / "absent", 100)
    monkeypatch.setenv("LANEMESH_GPUS", "sim:0=24GiB")
    assert llamacpp_uses_gpu()
    assert not LlmLlamacpp.gpu_bytes(LlmLlamacpp.Config.model_validate(config(LlmLlamacpp, gpu_layers=0)))
    assert not LlmTransformers.gpu_bytes(LlmTransformers.Config.model_validate(config(LlmTransformers, device="cpu")))
