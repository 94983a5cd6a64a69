"""llama.cpp: on a tiny random model, and on a real one where there is one."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import psutil
import pytest
from lanemesh import ChatText, ToolSpec
from lanemesh_services.llm.errors import GenerationFailed
from lanemesh_services.llm.llamacpp import LlamaCppEngine
from lanemesh_services.llm.llamacpp_server import LlamaCppOptions
from lanemesh_services.llm.tiny import tiny_gguf
from lanemesh_services.shared import models
from lanemesh_services.shared.errors import GenerationRefused

from conformance.llm.turns import ask, request, some_word, start, until_idle, without, without_model

pytestmark = without("xllamacpp", "gguf", "tokenizers")

PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "maximum": 99, "minimum": 1}, "old": {"type": "boolean"}},
    "required": ["age", "old"],
    "additionalProperties": False,
}


@pytest.fixture
async def engine() -> AsyncIterator[LlamaCppEngine]:
    engine = LlamaCppEngine.load(LlamaCppOptions(path=tiny_gguf(), context_length=512, slots=2))
    yield engine
    await engine.close()


async def test_happy_a_turn_with_usage(engine: LlamaCppEngine) -> None:
    turn = await ask(engine, "hello", max_tokens=8, temperature=0)

    assert turn.text
    assert turn.done.finish_reason in ("length", "stop")
    assert turn.done.usage.prompt_tokens > 5
    assert 1 <= turn.done.usage.completion_tokens <= 8


async def test_streaming_comes_in_pieces(engine: LlamaCppEngine) -> None:
    turn = await ask(engine, "hello", max_tokens=32, temperature=0)

    assert len(turn.texts) > 3


async def test_the_same_seed_gives_the_same_text(engine: LlamaCppEngine) -> None:
    texts = [(await ask(engine, "hello", max_tokens=16, temperature=1, seed=seed)).text for seed in (5, 5, 6)]

    assert texts[0] == texts[1] != texts[2]


async def test_several_at_once_share_the_slots(engine: LlamaCppEngine) -> None:
    alone = await ask(engine, "hello", max_tokens=16, temperature=0, seed=1)
    together = await asyncio.gather(*(ask(engine, f"hello {n}", max_tokens=16, temperature=0) for n in range(5)))

    assert all(turn.text for turn in together)
    assert alone.done.usage.completion_tokens
    assert engine.active == 0


async def test_a_schema_is_followed(engine: LlamaCppEngine) -> None:
    turn = await ask(engine, "a person", schema=PERSON, max_tokens=200, temperature=1)

    assert set(json.loads(turn.text)) == {"age", "old"}


async def test_stop_texts_end_the_turn(engine: LlamaCppEngine) -> None:
    whole = (await ask(engine, "hello", max_tokens=32, temperature=0, seed=1)).text
    stop = some_word(whole)

    cut = await ask(engine, "hello", max_tokens=32, temperature=0, seed=1, stop=[stop])

    assert cut.text == whole[: whole.index(stop)]
    assert cut.done.finish_reason == "stop"


@pytest.mark.parametrize(
    ("text", "settings", "field"),
    [
        ("word " * 600, {}, "messages"),
        ("x", {"schema": {"type": "objct"}}, "json_schema"),
        ("x", {"tools": [ToolSpec("add")]}, "tools"),
    ],
)
async def test_error_names_the_field(
    engine: LlamaCppEngine, text: str, settings: dict[str, object], field: str
) -> None:
    with pytest.raises(GenerationRefused) as raised:
        await ask(engine, text, **settings)

    assert raised.value.fault.details["field"] == field
    assert (await ask(engine, "still there?", max_tokens=2)).done.usage.completion_tokens


async def test_closing_a_turn_stops_it_in_the_engine(engine: LlamaCppEngine) -> None:
    pieces = await start(engine, "hello", max_tokens=400)
    assert engine.active == 1

    await pieces.aclose()

    await until_idle(engine)


async def test_a_cancelled_turn_gives_its_slot_to_the_next(engine: LlamaCppEngine) -> None:
    slow = [asyncio.create_task(ask(engine, "hello", max_tokens=400)) for _ in range(4)]
    async with aclosing(engine.chat(request("hello", temperature=0))) as last:
        waiting = asyncio.ensure_future(anext(last))
        for task in slow:
            task.cancel()

        await asyncio.gather(*slow, return_exceptions=True)
        assert isinstance(await asyncio.wait_for(waiting, 5), ChatText)


async def test_shutdown_ends_what_is_generated() -> None:
    engine = LlamaCppEngine.load(LlamaCppOptions(path=tiny_gguf(), context_length=512, slots=1))
    running = await start(engine, "hello", max_tokens=400)
    waiting = asyncio.create_task(ask(engine, "hello"))
    await asyncio.sleep(0)

    await engine.close()

    with pytest.raises(GenerationFailed, match="unloaded"):
        async for _ in running:
            pass
    with pytest.raises(GenerationFailed, match="unloaded"):
        await waiting
    with pytest.raises(GenerationFailed, match="unloaded"):
        await ask(engine, "hello")


PROGRAM = """
import asyncio, signal, sys
from lanemesh import ChatRequest, Message, Sampling
from lanemesh_services.llm.llamacpp import LlamaCppEngine
from lanemesh_services.llm.llamacpp_server import LlamaCppOptions
from lanemesh_services.llm.tiny import tiny_gguf

signal.signal(signal.SIGTERM, lambda *_: print("ours", flush=True))
engine = LlamaCppEngine.load(LlamaCppOptions(path=tiny_gguf(), context_length=2048, slots=1))
signal.raise_signal(signal.SIGTERM)

async def main():
    message = Message("user", "hello")
    pieces = engine.chat(ChatRequest((message,), sampling=Sampling(max_tokens=1500)))
    await anext(pieces)
    print("leaving", flush=True)
    sys.exit(3)

asyncio.run(main())
"""


def test_signals_stay_ours_and_leaving_in_the_middle_is_clean() -> None:
    path = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": path})

    assert done.stdout.split() == ["ours", "leaving"]
    assert done.returncode == 3, done.stderr
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.model
@without_model
async def test_a_real_model_speaks_and_follows_a_schema() -> None:
    engine = LlamaCppEngine.load(LlamaCppOptions(path=models.locate("smollm2"), context_length=512, slots=2))
    try:
        spoken, structured = await asyncio.gather(
            ask(engine, "Why is the sky blue?", max_tokens=24, temperature=0.2),
            ask(engine, "Describe a person.", max_tokens=100, schema=PERSON),
        )
    finally:
        await engine.close()

    assert len(spoken.text.split()) > 5
    assert len(spoken.texts) > 5
    assert set(json.loads(structured.text)) == {"age", "old"}


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**33 - 1, 2**64 - 1])
async def test_any_seed_gives_the_same_text_each_time(engine: LlamaCppEngine, seed: int) -> None:
    settings: dict[str, object] = {"max_tokens": 24, "temperature": 1.5, "top_k": 0, "top_p": 1.0, "seed": seed}

    assert (await ask(engine, "hello", **settings)).text == (await ask(engine, "hello", **settings)).text


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        ({"type": "string", "pattern": "^\\d{3}-\\w$"}, r'"\d{3}-\w"'),
        ({"type": "number", "minimum": 0.5, "maximum": 0.75, "multipleOf": 0.25}, r"0\.50*|0\.750*"),
        ({"enum": [f"v{number}" for number in range(2_000)]}, r'"v\d+"'),
        ({"oneOf": [{"const": 1}, {"type": "null"}]}, "1|null"),
    ],
)
async def test_a_schema_is_followed_to_the_letter(engine: LlamaCppEngine, schema: dict[str, Any], fits: str) -> None:
    turn = await ask(engine, "a", schema=schema, max_tokens=64, temperature=1, seed=1)

    assert re.fullmatch(fits, turn.text)


async def test_a_long_list_is_begun(engine: LlamaCppEngine) -> None:
    schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 5_000}

    turn = await ask(engine, "a", schema=schema, max_tokens=20)

    assert turn.done.finish_reason == "length"
    assert turn.text.startswith("[")


async def test_error_a_schema_that_only_the_engine_finds_impossible(engine: LlamaCppEngine) -> None:
    schema = {"type": "integer", "minimum": 3, "maximum": 2}

    with pytest.raises(GenerationRefused, match="json_schema is not supported by the engine: "):
        await ask(engine, "a", schema=schema, max_tokens=20, temperature=0)


async def test_error_an_engine_that_aborts_ends_its_own_process_and_comes_back(engine: LlamaCppEngine) -> None:
    running = await start(engine, "hello", max_tokens=400)
    engine._process._process.send_signal(signal.SIGABRT)

    with pytest.raises(GenerationFailed, match=r"ended during the generation \(SIGABRT"):
        async for _ in running:
            pass

    assert (await ask(engine, "hello", max_tokens=4)).done.usage.completion_tokens
    assert engine.active == 0


ORPHAN = """
import os, signal
from lanemesh_services.llm.llamacpp_server import LlamaCppOptions, LlamaCppProcess
from lanemesh_services.llm.tiny import tiny_gguf

process = LlamaCppProcess.start(LlamaCppOptions(path=tiny_gguf(), context_length=512, slots=1))
print(process._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_shutdown_no_process_outlives_a_server_that_is_killed() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True, env=env) as program:
        assert program.stdout is not None
        child = psutil.Process(int(program.stdout.readline()))

    _, alive = psutil.wait_procs([child], timeout=20)

    assert not alive
