"""A model or library that a component needs and its environment lacks: one sentence with the command that brings it, before any
node of the run works, in this process and on a mesh."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from lanemesh import Client, JobUpdate, LanemeshError, NodeUpdate, OutputUpdate, RunState
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import all_services, service_names
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_services.shared import models

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

HIDDEN = "lanemesh models get "
UNKNOWN = {"model": "no-such-model"}

NEEDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "embedding": ("embedding_transformer", {}, HIDDEN + "minilm"),
    "embedding of no name": ("embedding_transformer", UNKNOWN, HIDDEN + "minilm"),
    "rerank": ("rerank", {}, HIDDEN + "minilm"),
    "rerank of no name": ("rerank", UNKNOWN, HIDDEN + "minilm"),
    "names": ("ner", {}, HIDDEN + "en-core-web-sm"),
    "names of no name": ("ner", UNKNOWN, HIDDEN + "en-core-web-sm"),
    "privacy": ("anonymize", {}, HIDDEN + "en-core-web-sm"),
    "privacy of no name": ("anonymize", UNKNOWN, HIDDEN + "en-core-web-sm"),
    "speech": ("transcribe", {}, HIDDEN + "whisper-tiny-en"),
    "voice": ("audio_tts", {}, HIDDEN + "piper-joe-us"),
    "llama.cpp": ("llm_llamacpp", {"model": "smollm2"}, HIDDEN + "smollm2"),
    "transformers": ("llm_transformers", {"model": "smollm2"}, HIDDEN + "smollm2"),
    "pictures": ("image_classify", UNKNOWN, '"tiny-random", which is generated, for tests'),
    "diffusion": ("image_generate", UNKNOWN, '"tiny-random", which is generated, for tests'),
}
"""A node type, its config, and the end of the sentence."""
INPUTS = {
    "embedding_transformer": "questions",
    "rerank": "questions",
    "transcribe": "audio",
    "llm_llamacpp": "questions",
    "llm_transformers": "questions",
    "image_classify": "image",
}


@pytest.fixture(autouse=True)
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the packages of all models."""
    hidden = {name: replace(one, module=f"absent_{one.module}") for name, one in models.CATALOGUE.items()}
    monkeypatch.setattr(models, "CATALOGUE", hidden)


@asynccontextmanager
async def mesh(where: str) -> AsyncIterator[Client | Mesh]:
    if where == "embedded":
        async with Mesh() as embedded:
            yield embedded
        return
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    server = NodeServer(NodeHost(all_services(service_names())), orchestrator=orchestrator.address)
    try:
        await server.start()
        assert server.registration is not None
        await server.registration.joined.wait()
        async with Client(orchestrator.address) as client:
            yield client
    finally:
        await server.stop()
        await orchestrator.close()


def beside(provider: str, config: dict[str, Any]) -> str:
    """A pipeline of a component, and another one that would work at once."""
    edge = {"lane": INPUTS.get(provider, "text"), "from": "source"}
    components = [
        {"id": "source", "provider": "webhook"},
        {"id": "needing", "provider": provider, "config": config, "input": [edge]},
        {"id": "other", "provider": "upper_case", "input": [{"lane": "text", "from": "source"}]},
        {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "other"}]},
    ]
    return json.dumps({"components": components})


@pytest.mark.parametrize("where", ["embedded", "served"])
async def test_a_missing_model_is_one_sentence_before_any_node_works(where: str) -> None:
    async with mesh(where) as client:
        for label, (provider, config, end) in NEEDS.items():
            updates = await client.run(beside(provider, config), input="x").updates()
            jobs = [update for update in updates if isinstance(update, JobUpdate)]
            fault = jobs[-1].error
            worked = [update for update in updates if isinstance(update, NodeUpdate) and update.firings]

            assert fault is not None, label
            assert RunState.RUNNING not in [job.state for job in jobs], "the run has not started"
            assert (fault.reason, fault.details["component"]) == ("model-missing", "needing"), label
            assert fault.message.endswith(end), fault.message
            assert ". " not in fault.message, "it is one sentence"
            assert not worked, label
            assert not [update for update in updates if isinstance(update, OutputUpdate)], label


@pytest.mark.parametrize(
    ("provider", "config", "library", "command"),
    [
        ("audio_tts", {"engine": "piper"}, "piper", "pip install 'lanemesh[piper]'"),
        ("audio_tts", {"engine": "kokoro", "model": "k.onnx", "voices": "k.bin"}, "kokoro_onnx", "'lanemesh[kokoro]'"),
    ],
)
async def test_a_library_of_one_setting_is_one_sentence_before_any_node_works(
    monkeypatch: pytest.MonkeyPatch, provider: str, config: dict[str, Any], library: str, command: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    async with Mesh() as embedded:
        result = await embedded.run(beside(provider, config), input="x").result()
    assert result.error is not None
    assert result.error.reason == "engine-missing"
    assert command in result.error.message
    assert ". " not in result.error.message
    assert result.outputs == ()


async def test_a_file_of_kokoro_that_is_not_there_suggests_no_voice_of_piper() -> None:
    async with Mesh() as embedded:
        kokoro = {"engine": "kokoro", "model": "no-such.onnx", "voices": "no-such.bin"}
        result = await embedded.run(beside("audio_tts", kokoro), input="x").result()
    with pytest.raises(LanemeshError, match=r"no-such.*files of one release of kokoro"):
        result.raise_for_state()
    assert result.error is not None
    assert "piper" not in result.error.message
