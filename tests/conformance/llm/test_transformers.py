"""transformers: on a tiny random model, and on a real one where there is one."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lanemesh import ToolSpec
from lanemesh_services.llm.errors import GenerationFailed, ModelTooLarge
from lanemesh_services.llm.nodes import transformers_source
from lanemesh_services.llm.tiny import tiny_folder, tiny_gguf
from lanemesh_services.llm.transformers import TransformersEngine
from lanemesh_services.llm.transformers_model import TransformersOptions
from lanemesh_services.shared.errors import EngineMissing, GenerationRefused, ModelMissing, ModelUnusable

from conformance.llm.turns import ask, some_word, start, without, without_model

pytestmark = without("torch", "transformers", "gguf")


def load(model: object = None, **settings: Any) -> TransformersEngine:
    given: dict[str, Any] = {"context_length": 256, "threads": 1, "device": "cpu", **settings}
    return TransformersEngine.load(TransformersOptions(model=str(model or tiny_folder()), **given))


@pytest.fixture
async def engine() -> AsyncIterator[TransformersEngine]:
    engine = load()
    yield engine
    await engine.close()


async def test_happy_a_turn_with_usage(engine: TransformersEngine) -> None:
    turn = await ask(engine, "hello", max_tokens=8, temperature=0)

    assert turn.text
    assert turn.done.finish_reason in ("length", "stop")
    assert turn.done.usage.prompt_tokens > 5
    assert 1 <= turn.done.usage.completion_tokens <= 8


async def test_streaming_comes_in_pieces(engine: TransformersEngine) -> None:
    turn = await ask(engine, "hello", max_tokens=32, temperature=0)

    assert len(turn.texts) > 3


async def test_greedy_and_seeded_turns_are_the_same_alone_and_in_company(engine: TransformersEngine) -> None:
    kinds: list[dict[str, Any]] = [
        {"temperature": 0},
        {"temperature": 1, "seed": 5},
        {"temperature": 1, "seed": 6, "top_k": 0, "top_p": 0.9},
    ]
    alone = [(await ask(engine, "hello", max_tokens=16, **kind)).text for kind in kinds]

    together = [turn.text for turn in await asyncio.gather(*(ask(engine, "hello", max_tokens=16, **k) for k in kinds))]

    assert together == alone
    assert len(set(alone)) == 3


async def test_stop_texts_end_the_turn(engine: TransformersEngine) -> None:
    whole = (await ask(engine, "hello", max_tokens=32, temperature=0)).text
    stop = some_word(whole)

    cut = await ask(engine, "hello", max_tokens=32, temperature=0, stop=[stop])

    assert cut.text == whole[: whole.index(stop)]
    assert cut.done.finish_reason == "stop"


@pytest.mark.parametrize(
    ("text", "settings", "field"),
    [
        ("word " * 300, {}, "messages"),
        ("x", {"schema": {}}, "json_schema"),
        ("x", {"tools": [ToolSpec("add")]}, "tools"),
        ("x", {"temperature": -1}, "sampling.temperature"),
    ],
)
async def test_error_names_the_field(
    engine: TransformersEngine, text: str, settings: dict[str, object], field: str
) -> None:
    with pytest.raises(GenerationRefused) as raised:
        await ask(engine, text, **settings)

    assert raised.value.fault.details["field"] == field
    assert (await ask(engine, "still there?", max_tokens=2)).done.usage.completion_tokens


async def test_closing_a_turn_takes_it_out_of_the_batch(engine: TransformersEngine) -> None:
    pieces = await start(engine, "hello", max_tokens=200, temperature=0)

    await pieces.aclose()
    await ask(engine, "another", max_tokens=4)  # whose steps come after the cancellation

    assert engine.active == 0
    assert not engine._manager.batch_processor.scheduler.active_requests


async def test_more_conversations_than_the_cache_holds_take_turns() -> None:
    engine = load(context_length=128, cache_tokens=160)
    try:
        turns = await asyncio.gather(*(ask(engine, f"hello {n}", max_tokens=64, temperature=0) for n in range(6)))
    finally:
        await engine.close()

    assert all(turn.done.usage.completion_tokens == 64 or turn.done.finish_reason == "stop" for turn in turns)


async def test_shutdown_ends_what_is_generated() -> None:
    engine = load()
    pieces = await start(engine, "hello", max_tokens=200, temperature=0)

    await engine.close()

    with pytest.raises(GenerationFailed, match="unloaded"):
        async for _ in pieces:
            pass
    with pytest.raises(GenerationFailed, match="unloaded"):
        await ask(engine, "hello")


def test_error_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_folder()
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(EngineMissing, match=r"pip install 'lanemesh\[transformers\]'"):
        load(folder)


def test_error_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="cannot load it"):
        load(tmp_path)


def test_error_a_hub_id_that_cannot_be_had() -> None:
    with pytest.raises(ModelMissing, match="no model"):
        load("nobody/has-this-model")


def test_error_a_context_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh_services.llm.memory.available_bytes", lambda: 50 * 2**20)

    with pytest.raises(ModelTooLarge, match="lower context_length"):
        load()


def test_a_gguf_file_is_prepared_once(capfd: pytest.CaptureFixture[str]) -> None:
    first, second = transformers_source(str(tiny_gguf())), transformers_source(str(tiny_gguf()))

    assert first == second
    assert (Path(first) / "config.json").is_file()
    assert capfd.readouterr().err.count("Prepared ") == 1
    assert not list(Path(first).parent.glob(".preparing-*"))


async def test_a_prepared_gguf_file_uses_the_same_prompt_as_llama_cpp() -> None:
    engine = load(transformers_source(str(tiny_gguf())))
    try:
        assert (await ask(engine, "hello", max_tokens=4, temperature=0)).text
    finally:
        await engine.close()


PROGRAM = """
import asyncio, sys
from lanemesh import ChatRequest, Message, Sampling
from lanemesh_services.llm.tiny import tiny_folder
from lanemesh_services.llm.transformers import TransformersEngine
from lanemesh_services.llm.transformers_model import TransformersOptions

engine = TransformersEngine.load(TransformersOptions(model=str(tiny_folder()), device="cpu", threads=1))

async def main():
    message = Message("user", "hello")
    pieces = engine.chat(ChatRequest((message,), sampling=Sampling(max_tokens=1500)))
    await anext(pieces)
    print("leaving", flush=True)
    sys.exit(3)

asyncio.run(main())
"""


@pytest.mark.heavy
def test_leaving_in_the_middle_is_clean() -> None:
    path = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, env={**os.environ, "PYTHONPATH": path})

    assert done.stdout.split() == ["leaving"]
    assert done.returncode == 3, done.stderr


@pytest.mark.model
@without_model
async def test_a_real_model_speaks(monkeypatch: pytest.MonkeyPatch, users_cache: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(users_cache))
    engine = load(transformers_source("smollm2"))
    try:
        # One after the other: in a batch, bfloat16 rounds otherwise, and of two words that are as likely another one may come.
        turns = [await ask(engine, "Why is the sky blue?", max_tokens=16, temperature=0) for _ in "ab"]
    finally:
        await engine.close()

    assert len(turns[0].text.split()) > 5
    assert turns[0].text == turns[1].text
