"""The scripted model: the same words every time."""

import asyncio
import json

import pytest
from lanemesh_services.llm.errors import GenerationFailed
from lanemesh_services.llm.scripted import ScriptedCall, ScriptedEngine, ScriptedTurn
from lanemesh_services.shared.errors import GenerationRefused

from conformance.llm.turns import ask, start

SCRIPT = (
    ScriptedTurn("Let me see.", (ScriptedCall("add", {"a": 2, "b": 3}), ScriptedCall("add", {"a": 1, "b": 1}))),
    ScriptedTurn("It is  five.\n"),
)


async def test_happy_the_turn_follows_from_the_conversation() -> None:
    engine = ScriptedEngine(SCRIPT)

    first = await ask(engine, "2 + 3?")
    second = await ask(engine, "2 + 3?", "Let me see.")
    further = await ask(engine, "2 + 3?", "Let me see.", "And?", "It is five.")

    assert first.text == "Let me see."
    assert [(call.id, call.name, json.loads(call.arguments)) for call in first.calls] == [
        ("call_0_0", "add", {"a": 2, "b": 3}),
        ("call_0_1", "add", {"a": 1, "b": 1}),
    ]
    assert first.done.finish_reason == "tool_calls"
    assert second.text == further.text == "It is  five.\n"
    assert (second.done.finish_reason, len(second.calls)) == ("stop", 0)
    assert (second.done.usage.prompt_tokens, second.done.usage.completion_tokens) == (6, 4)


async def test_an_empty_script_echoes() -> None:
    assert (await ask(ScriptedEngine(()), "Hello  there", "Hi", "again, \u00e4!")).text == "again, \u00e4!"


async def test_streaming_comes_word_by_word_and_lets_others_run() -> None:
    engine = ScriptedEngine([ScriptedTurn("one two three")])
    others: list[int] = []

    async def count() -> None:
        while True:
            others.append(1)
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    turn = await ask(engine, "count")
    counting.cancel()

    assert turn.texts == ("one", " two", " three")
    assert len(others) >= 3


async def test_max_tokens_and_stop_are_followed() -> None:
    engine = ScriptedEngine([ScriptedTurn("one two three", (ScriptedCall("never", {}),))])

    cut = await ask(engine, "count", max_tokens=2)
    stopped = await ask(engine, "count", stop=["thr"])

    assert (cut.text, cut.done.finish_reason, cut.calls) == ("one two", "length", ())
    assert (stopped.text, stopped.done.finish_reason, stopped.calls) == ("one two ", "stop", ())


@pytest.mark.parametrize(
    ("texts", "sampling", "field"),
    [
        ((), {}, "messages"),
        (("x",), {"temperature": 2.5}, "sampling.temperature"),
        (("x",), {"top_p": 0.0}, "sampling.top_p"),
        (("x",), {"max_tokens": 0}, "sampling.max_tokens"),
        (("x",), {"stop": [""]}, "sampling.stop"),
        (("x",), {"stop": ["x"] * 17}, "sampling.stop"),
    ],
)
async def test_error_names_the_field(texts: tuple[str, ...], sampling: dict[str, object], field: str) -> None:
    with pytest.raises(GenerationRefused) as raised:
        await ask(ScriptedEngine(()), *texts, **sampling)

    assert raised.value.fault.details["field"] == field


async def test_shutdown_ends_the_generation() -> None:
    engine = ScriptedEngine([ScriptedTurn("one two three")])
    pieces = await start(engine, "count")

    await engine.close()

    with pytest.raises(GenerationFailed, match="unloaded"):
        await anext(pieces)
    assert engine.active == 0
