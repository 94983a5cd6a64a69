"""The node types: from a question to pieces of an answer, and generation for an invoker."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from lanemesh.node.context import Context
from lanemesh.values import Answer, Question, ToolCall, ToolSpec, Usage
from lanemesh_services.llm import SERVICE
from lanemesh_services.llm.engine_cache import EngineCache
from lanemesh_services.llm.nodes import LanguageModel, LlmLlamacpp, LlmScripted, LlmTransformers
from lanemesh_services.shared.errors import ModelMissing, ModelUnusable
from pydantic import ValidationError

from conformance.llm.turns import read_turn, request, without


async def no_report(_update: object) -> None:
    """Nobody watches."""


CONTEXT = Context(run_id="r", component="llm_1", provider="llm", report=no_report)


@asynccontextmanager
async def node(kind: type[LanguageModel], **config: Any) -> AsyncIterator[LanguageModel]:
    """A node of a kind, loaded."""
    made = kind()
    profile = kind.profiles.get(config.pop("profile", ""), {})
    made.config = kind.Config.model_validate({**profile, **config})
    made.resource = await kind.load(made.config)
    try:
        yield made
    finally:
        await kind.unload(made.resource)


async def answer(made: LanguageModel, question: Question) -> dict[str, list[Any]]:
    """What a node gives for a question, by port."""
    made.questions = question
    given: dict[str, list[Any]] = {"text": [], "answers": []}
    async for port, value in made.gen_process(CONTEXT):
        given[port].append(value)
    return given


KINDS = [
    pytest.param(LlmScripted, {}, id="scripted"),
    pytest.param(
        LlmLlamacpp,
        {"profile": "tiny-random", "seed": 7},
        id="llamacpp",
        marks=without("xllamacpp", "gguf", "tokenizers"),
    ),
    pytest.param(
        LlmTransformers,
        {"profile": "tiny-random", "seed": 7},
        id="transformers",
        marks=without("torch", "transformers"),
    ),
]


async def test_the_calls_of_a_questions_tools_are_pieces_of_the_answer() -> None:
    script = [{"text": "Well", "tool_calls": [{"name": "look", "arguments": {"at": "x"}}, {"name": "wait"}]}]
    async with node(LlmScripted, script=script) as made:
        given = await answer(made, Question("Where?", tools=(ToolSpec("look"), ToolSpec("wait"))))

    *pieces, last = given["answers"]
    calls = [call for piece in pieces for call in piece.tool_calls]
    assert calls == [ToolCall("call_0_0", "look", '{"at": "x"}'), ToolCall("call_0_1", "wait", "{}")]
    assert last.finish_reason == "tool_calls"


@pytest.mark.parametrize(("kind", "config"), KINDS)
async def test_happy_streaming_pieces_then_reason_and_usage(kind: type[LanguageModel], config: dict[str, Any]) -> None:
    async with node(kind, **config) as made:
        given = await answer(made, Question("What is the name of every stone in the river?"))

    *pieces, last = given["answers"]
    assert [piece.text for piece in pieces] == given["text"]
    assert len(pieces) > 1
    assert all(not piece.finish_reason and piece.usage is None for piece in pieces)
    assert last.text == ""
    assert last.finish_reason in ("stop", "length")
    assert last.usage.completion_tokens > 1


async def test_a_scripted_answer_is_exact() -> None:
    async with node(LlmScripted, script=["Hello there."]) as made:
        given = await answer(made, Question("Hi"))

    assert given["text"] == ["Hello", " there."]
    assert given["answers"][-1] == Answer(finish_reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=2))


async def test_a_structured_answer_is_sent_as_data_too() -> None:
    async with node(LlmScripted, script=['{"n": [1, 2]}', "no json"]) as made:
        data = (await answer(made, Question("n?", schema={"type": "object"})))["answers"][-1].data

    assert json.loads(json.dumps(data)) == {"n": [1, 2]}


async def test_an_invoker_gets_tool_calls_and_the_components_settings() -> None:
    script = [{"text": "one two three", "tool_calls": [{"name": "add", "arguments": {"a": 1}}]}]
    async with node(LlmScripted, script=script, max_tokens=2) as made:
        cut = await read_turn(made.chat(CONTEXT, request("go")))
        whole = await read_turn(made.chat(CONTEXT, request("go", max_tokens=3)))

    assert (cut.text, cut.done.finish_reason) == ("one two", "length")
    assert (whole.text, whole.calls[0].name, whole.done.finish_reason) == ("one two three", "add", "tool_calls")


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (LlmLlamacpp, {}),
        (LlmLlamacpp, {"model": "m", "temperature": 3}),
        (LlmTransformers, {"model": "m", "slots": 3}),
        (LlmScripted, {"script": [{"tool_calls": [{"arguments": {}}]}]}),
        (LlmScripted, {"delay": -1}),
    ],
)
def test_error_a_config_that_makes_no_sense(kind: type[LanguageModel], config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.Config.model_validate(config)


@pytest.mark.parametrize("kind", [LlmLlamacpp, LlmTransformers])
async def test_error_a_model_that_is_not_there(kind: type[LanguageModel]) -> None:
    with pytest.raises((ModelMissing, ModelUnusable), match=r"no model|no such file"):
        async with node(kind, model="./nowhere/model.gguf"):
            pass


async def test_shutdown_closing_the_answer_stops_the_model() -> None:
    async with node(LlmScripted, script=["one two three"]) as made:
        made.questions = Question("count")
        given = made.gen_process(CONTEXT)
        await anext(given)
        assert made.resource.engine.active == 1

        await given.aclose()

        assert made.resource.engine.active == 0


@without("xllamacpp", "gguf", "tokenizers")
async def test_components_that_differ_in_sampling_share_one_model() -> None:
    async with (
        node(LlmLlamacpp, profile="tiny-random", temperature=0) as first,
        node(LlmLlamacpp, profile="tiny-random", temperature=1) as second,
        node(LlmLlamacpp, profile="tiny-random", context_length=256) as third,
    ):
        assert first.resource.engine is second.resource.engine
        assert first.resource.engine is not third.resource.engine


class Counted:
    """An engine that only counts."""

    def __init__(self) -> None:
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


async def test_the_shelf_loads_once_and_closes_with_the_last() -> None:
    engine_cache = EngineCache()
    made: list[Counted] = []

    def load() -> Any:
        made.append(Counted())
        return made[-1]

    first, second = await asyncio.gather(engine_cache.take("k", load), engine_cache.take("k", load))
    await engine_cache.give_back("k")
    assert (first is second, len(made), made[0].closed) == (True, 1, 0)

    await engine_cache.give_back("k")
    assert made[0].closed == 1
    assert await engine_cache.take("k", load) is not first


async def test_the_shelf_forgets_what_failed_to_load() -> None:
    engine_cache = EngineCache()

    def fail() -> Any:
        raise ValueError("broken")

    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            await engine_cache.take("k", fail)


def test_the_service_imports_nothing_heavy() -> None:
    program = "import lanemesh_services.llm, sys; print([m for m in sys.modules if m in sys.argv[1:]])"
    heavy = [
        "torch",
        "transformers",
        "xllamacpp",
        "numpy",
        "gguf",
        "tokenizers",
        "openai",
        "anthropic",
        "google.genai",
        "httpx2",
    ]
    env_path = ":".join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", program, *heavy],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": env_path},
    )

    assert done.stdout.strip() == "[]"
    assert [kind.provider for kind in SERVICE.nodes] == [
        "llm_llamacpp",
        "llm_transformers",
        "llm_scripted",
        "llm_openai",
        "llm_anthropic",
        "llm_gemini",
        "llm_router",
        "barge_in",
    ]


async def test_a_structured_answer_that_cannot_be_held_is_text_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    said = '{"id": 123456789012345678901234567890}'
    async with node(LlmScripted, script=[said]) as made:
        answers = (await answer(made, Question("n?", schema={"type": "object"})))["answers"]

    assert "".join(piece.text for piece in answers) == said
    assert answers[-1].data is None
    assert "does not fit in 64 bits" in caplog.text


async def test_error_an_empty_stop_text_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="at least 1 character"):
        LlmScripted.Config.model_validate({"stop": ["END", ""]})
