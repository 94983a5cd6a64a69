"""The router: the first healthy model answers, the others stand by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from lanemesh import ChatEvent, ChatFinish, ChatRequest, ChatText, Code, Fault, LanemeshError, Question, Usage
from lanemesh.control.llm import ChatClient
from lanemesh.testing import NodeResult, run_node_async
from lanemesh_services.llm.router import MAX_GROUPS, MAX_SESSIONS, Group, Groups, Health, LlmRouter


class Model(ChatClient):
    """Does one act per request, the last one again and again: it answers, fails, hangs, or breaks after its first piece."""

    def __init__(self, name: str, *acts: str, cost: float | None = None) -> None:
        self.name = name
        self.acts = list(acts or ("answer",))
        self.cost = cost
        self.asked = 0

    async def turn(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """One turn."""
        self.asked += 1
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        if act == "hang":
            await asyncio.Event().wait()
        if act.startswith("refuse "):
            raise failing(Code.INVALID_ARGUMENT, f"{self.name} refuses", field=act.removeprefix("refuse "))
        if act in ("fail", "refuse"):
            raise failing(Code.INVALID_ARGUMENT if act == "refuse" else Code.UNAVAILABLE, f"{self.name} {act}s")
        yield ChatText(self.name)
        if act == "break":
            raise failing(Code.UNAVAILABLE, f"{self.name} breaks")
        yield Usage(500, 500, self.cost)
        yield ChatFinish()


def failing(code: Code, message: str, **details: str) -> LanemeshError:
    return LanemeshError(Fault(code=code, reason="test", message=message, retry_after=3.0, details=details))


async def route(models: Sequence[Model], questions: int = 1, session: str = "", **config: Any) -> NodeResult:
    """Asks a router this many questions."""
    return await run_node_async(
        LlmRouter,
        config=config,
        llm={model.name: model for model in models},
        questions=[Question("hello")] * questions,
        session=session,
        raises=False,
    )


async def test_the_first_model_answers() -> None:
    models = [Model("a"), Model("b")]
    assert (await route(models, 3)).text == ["a", "a", "a"]
    assert [model.asked for model in models] == [3, 0]


@pytest.mark.parametrize("act", ["fail", "refuse", "hang"])
async def test_a_model_that_fails_before_its_first_piece_is_replaced(act: str) -> None:
    result = await route([Model("a", act), Model("b", act), Model("c")], timeout=0.05)
    assert result.text == ["c"]


async def test_after_the_first_piece_the_error_is_passed_on() -> None:
    models = [Model("a", "break"), Model("b")]
    result = await route(models)
    assert (result.text, models[1].asked) == (["a"], 0)
    assert "a breaks" in str(result.error)


async def test_a_failed_model_rests_and_one_that_refuses_does_not() -> None:
    models = [Model("a", "fail", "answer"), Model("b")]
    assert (await route(models, 3, sticky="none", rest=60.0)).text == ["b", "b", "b"]
    assert models[0].asked == 1
    models = [Model("a", "refuse", "answer"), Model("b")]
    assert (await route(models, 3, sticky="none")).text == ["b", "a", "a"]


async def test_a_session_keeps_its_model() -> None:
    models = [Model("a", "refuse", "answer"), Model("b")]
    assert (await route(models, 3, session="s" * 20)).text == ["b", "b", "b"]


async def test_the_cheapest_model_answers_once_prices_are_known() -> None:
    models = [Model("a", cost=0.02), Model("b", cost=0.001), Model("c", cost=0.5)]
    assert (await route(models, 5, by="cost", sticky="none")).text == ["a", "b", "c", "b", "b"]


async def test_models_that_all_fail_are_one_error_with_each_reason() -> None:
    result = await route([Model("a", "fail"), Model("b", "fail")])
    assert isinstance(result.error, LanemeshError)
    fault = result.error.fault
    assert (fault.reason, fault.code, fault.retry_after) == ("no-model-answered", Code.UNAVAILABLE, 3.0)
    assert "1: a fails; 2: b fails" in fault.message


@pytest.mark.parametrize(
    ("acts", "field"),
    [
        (("refuse tools", "refuse tools"), "tools"),
        (("fail", "refuse tools"), "tools"),
        (("refuse tools", "refuse json_schema"), ""),
        (("refuse tools", "refuse"), ""),
        (("fail", "fail"), ""),
    ],
)
async def test_the_error_of_all_models_has_the_field_that_they_reject(acts: tuple[str, str], field: str) -> None:
    result = await route([Model(name, act) for name, act in zip("ab", acts, strict=True)])
    assert isinstance(result.error, LanemeshError)
    assert result.error.fault.details.get("field", "") == field


async def test_the_error_of_an_only_model_is_its_own() -> None:
    result = await route([Model("a", "refuse")])
    assert isinstance(result.error, LanemeshError)
    assert result.error.fault.reason == "test"


def test_models_that_rest_are_tried_last_the_one_that_ends_first_before_the_others() -> None:
    group = Group([Health() for _ in range(4)])
    group.models[0].failed(10.0, 1.0, 60.0)
    group.models[2].failed(10.0, 1.0, 60.0)
    group.models[2].failed(10.0, 1.0, 60.0)
    group.keep("s", 2)
    assert group.order("order", "s", 10.5) == [1, 3, 0, 2]
    assert group.order("order", "s", 12.5) == [2, 0, 1, 3]


def test_a_rest_doubles_up_to_its_limit_and_ends_with_a_success() -> None:
    health = Health()
    rests = []
    for _ in range(2000):
        health.failed(0.0, 1.0, 60.0)
        rests.append(health.rests_until)
    assert rests[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert max(rests) == 60
    health.succeeded(0.5)
    assert (health.failures, health.rests_until) == (0, 0)


def test_the_fastest_model_is_tried_first() -> None:
    group = Group([Health(latency=0.3), Health(latency=0.1), Health()])
    assert group.order("latency", "", 0.0) == [2, 1, 0]


def test_what_is_remembered_is_bounded() -> None:
    groups = Groups()
    first = groups.of("first", 2)
    for number in range(MAX_GROUPS):
        groups.of(number, 2)
    assert groups.of("first", 2) is not first
    for number in range(MAX_SESSIONS + 5):
        first.keep(str(number), 0)
    assert len(first.chosen) == MAX_SESSIONS
