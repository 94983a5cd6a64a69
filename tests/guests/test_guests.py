"""Agents of several frameworks: the same pipeline with each, in one process and spread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lanemesh import Answer, Image, Question, ToolUpdate
from lanemesh.client.updates import OutputUpdate, ThoughtUpdate, ToolCallUpdate, ToolResultUpdate
from lanemesh_orchestrator import Mesh

from guests.conftest import ANSWER, GUESTS, agent, call, document, guest_params
from rigs.runs import until

TICKS_OF_A_SECOND = 10
"""Of the tool `wait`. On a slow machine its ticks are slow as well."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def events_and_answers(
    mesh: Mesh, pipeline: dict[str, Any], question: Any = "Rain in Oslo?"
) -> tuple[list[Any], list[Answer]]:
    """The events of the agents in a run that completes, and the pieces of their answers."""
    events: list[ToolUpdate] = []
    answers: list[Answer] = []
    async with mesh.run(pipeline, input=question) as run:
        async for update in run.updates():
            match update:
                case ToolUpdate():
                    events.append(update)
                case OutputUpdate():
                    answers.append(update.value)
        (await run.result()).raise_for_state()
    return events, answers


@pytest.mark.conformance("CTRL-06")
@pytest.mark.parametrize("provider", guest_params())
async def test_each_calls_tools_and_reports_what_it_does(mesh: Mesh, provider: str) -> None:
    pipeline = document(agent("a", [call("weather", city="Oslo"), ANSWER], provider=provider, **GUESTS[provider]))
    events, answers = await events_and_answers(mesh, pipeline)
    assert "".join(answer.text for answer in answers) == ANSWER
    assert answers[-1].finish_reason == "stop"
    assert answers[-1].usage is not None
    assert answers[-1].usage.completion_tokens > 0
    calls = [event for event in events if isinstance(event, ToolCallUpdate)]
    results = [event for event in events if isinstance(event, ToolResultUpdate)]
    assert [event.call.name for event in calls] == ["weather"]
    assert [(event.call_id, event.content) for event in results] == [(calls[0].call.id, '"rain in Oslo"')]
    assert [event.text for event in events if isinstance(event, ThoughtUpdate)] == ["I need a tool."]


@pytest.mark.parametrize("provider", [param for param in guest_params() if param.values != ("agent_python",)])
async def test_a_failed_call_is_a_result_for_the_model(mesh: Mesh, provider: str) -> None:
    pipeline = document(agent("a", [call("broken", city="Oslo"), ANSWER], provider=provider, **GUESTS[provider]))
    events, answers = await events_and_answers(mesh, pipeline)
    results = [event for event in events if isinstance(event, ToolResultUpdate)]
    assert [(result.name, result.is_error, "no station in Oslo" in result.content) for result in results] == [
        ("broken", True, True)
    ]
    assert "".join(answer.text for answer in answers) == ANSWER


@pytest.mark.parametrize("provider", guest_params())
async def test_what_a_sub_agent_uses_is_used_by_its_caller(mesh: Mesh, provider: str) -> None:
    work = {"text": "word " * 500, "tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]}
    script = [call("worker", task="look it up"), ANSWER]
    pipeline = document(agent("a", script, provider=provider, **GUESTS[provider]))
    worker = agent("worker", [work, "Rain."], provider="agent_wave")
    worker[0] = {**worker[0], "input": [], "control": [{"classType": "tool", "from": "a"}]}
    pipeline["components"] += worker
    _, answers = await events_and_answers(mesh, pipeline)
    assert answers[-1].usage is not None
    assert answers[-1].usage.completion_tokens > 500
    assert answers[-1].usage.tool_calls == 2


@pytest.mark.conformance("CTRL-10")
@pytest.mark.parametrize("provider", guest_params())
async def test_cancel_during_a_call_stops_the_tool_within_a_second(mesh: Mesh, provider: str, tmp_path: Path) -> None:
    ticks = tmp_path / "ticks"
    pipeline = document(agent("a", [call("wait", folder=str(tmp_path)), ANSWER], provider=provider, **GUESTS[provider]))
    async with mesh.run(pipeline, input="Rain?") as run:
        async for update in run.updates():
            if isinstance(update, ToolCallUpdate):
                break
        await until(ticks.exists)
        before = ticks.stat().st_size
        await run.cancel()
        assert (await run.result()).state == "cancelled"
    await until((tmp_path / "cancelled").exists)
    assert ticks.stat().st_size - before <= TICKS_OF_A_SECOND


@pytest.mark.parametrize("provider", guest_params())
async def test_the_answer_follows_the_schema_of_the_question(mesh: Mesh, provider: str) -> None:
    if provider == "agent_langchain":
        script = [{"tool_calls": [{"name": "answer", "arguments": {"rain": True}}]}, ANSWER]
    else:
        script = ['{"rain": true}']
    schema = {"type": "object", "properties": {"rain": {"type": "boolean"}}, "required": ["rain"]}
    pipeline = document(agent("a", script, provider=provider, **GUESTS[provider]))
    _, answers = await events_and_answers(mesh, pipeline, Question("Rain?", schema=schema))
    assert [answer.data for answer in answers if answer.data is not None] == [{"rain": True}]


@pytest.mark.heavy
async def test_three_frameworks_answer_one_question_side_by_side(mesh: Mesh) -> None:
    if marks := guest_params()[-1].marks:
        pytest.skip(marks[0].kwargs["reason"])
    providers = ["agent_rocketride", "agent_langchain", "agent_crewai"]
    agents = [agent(name, [f"{name} says: {ANSWER}"], provider=name) for name in providers]
    _, answers = await events_and_answers(mesh, document(*agents))
    assert sorted(len(answer.text) > 0 for answer in answers).count(False) == 3
    assert [answer.finish_reason for answer in answers if answer.finish_reason] == ["stop"] * 3
    # the pieces of the three interleave, so count their letters
    said = "".join(answer.text for answer in answers)
    assert sorted(said) == sorted("".join(f"{name} says: {ANSWER}" for name in providers))


@pytest.mark.heavy
async def test_a_crew_of_several_agents_and_tasks(mesh: Mesh) -> None:
    if marks := guest_params()[-1].marks:
        pytest.skip(marks[0].kwargs["reason"])
    config = {
        "agents": [{"role": "researcher", "tools": ["weather"]}, {"role": "writer", "tools": [], "llm": "writer"}],
        "tasks": [
            {"description": "Find out: {question}", "agent": "researcher"},
            {"description": "Write it down", "agent": "writer", "context": [0]},
        ],
    }
    writer = {
        "id": "writer",
        "provider": "llm_scripted",
        "config": {"script": [{"text": "Written down.", "tool_calls": [{"name": "weather", "arguments": {}}]}]},
        "control": [{"classType": "llm", "from": "a", "name": "writer"}],
    }
    parts = agent("a", [call("weather", city="Oslo"), ANSWER], provider="agent_crewai", **config)
    events, answers = await events_and_answers(mesh, document([*parts, writer]))
    assert "".join(answer.text for answer in answers) == "Written down."
    assert [event.call.name for event in events if isinstance(event, ToolCallUpdate)] == ["weather"]


@pytest.mark.parametrize(
    ("name", "text", "reason", "data"),
    [
        ("returns_text", "Hi!", "stop", None),
        ("plain", "Hi from a thread", "stop", None),
        ("plain_pieces", "Hi in pieces", "stop", None),
        ("answer", "cut", "length", None),
        ("model", '{"good":true}', "stop", {"good": True}),
        ("Counter", '{"questions":1}', "stop", {"questions": 1}),
    ],
)
async def test_code_may_return_or_yield(mesh: Mesh, name: str, text: str, reason: str, data: Any) -> None:
    pipeline = document(agent("a", [ANSWER], provider="agent_python", file="guest_agents.py", name=name))
    _, answers = await events_and_answers(mesh, pipeline, "Hi")
    assert "".join(answer.text for answer in answers).replace(" ", "") == text.replace(" ", "")
    assert (answers[-1].finish_reason, answers[-1].data) == (reason, data)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"file": "guest_agents.py", "name": "fails"}, "out of ideas"),
        ({"file": "guest_agents.py", "name": "returns_object"}, "which is not JSON"),
        ({"file": "guest_agents.py"}, "several public functions"),
        ({"file": "guest_agents.py", "name": "nobody"}, 'no function or class "nobody"'),
        ({"file": "guest_agents.py", "name": "Panics"}, "Panics() raised SystemExit: 3"),
        ({"file": "not_there.py"}, "there is no file"),
        ({}, "neither file nor module is set"),
    ],
)
async def test_what_is_wrong_with_code_is_said(mesh: Mesh, config: dict[str, Any], named: str) -> None:
    pipeline = document(agent("a", [ANSWER], provider="agent_python", **config))
    async with mesh.run(pipeline, input="Hi") as run:
        result = await run.result()
    assert result.state == "failed"
    assert named in str(result.error)


async def test_a_call_that_is_left_has_a_result(mesh: Mesh, tmp_path: Path) -> None:
    pipeline = document(agent("a", [ANSWER], provider="agent_python", file="guest_agents.py", name="gives_up"))
    events, answers = await events_and_answers(mesh, pipeline, str(tmp_path))
    assert "".join(answer.text for answer in answers) == "gave up"
    results = [event for event in events if isinstance(event, ToolResultUpdate)]
    assert [(result.is_error, "was cancelled" in result.content) for result in results] == [(True, True)]


async def test_images_are_refused_where_a_framework_does_not_get_them(mesh: Mesh) -> None:
    pipeline = document(agent("a", [ANSWER], provider="agent_langchain"))
    question = Question("What is it?", images=(Image("image/png", b"1", width=1, height=1),))
    async with mesh.run(pipeline, input=question) as run:
        result = await run.result()
    assert "cannot pass the images of a question on" in str(result.error)


async def test_a_graph_of_a_file(mesh: Mesh) -> None:
    pipeline = document(agent("a", ["First."], provider="agent_langchain", file="guest_graphs.py", name="two_steps"))
    _, answers = await events_and_answers(mesh, pipeline)
    assert "".join(answer.text for answer in answers) == "First.\n\nThat is all."


async def test_a_graph_of_a_file_gets_the_instructions_of_config_and_question(mesh: Mesh) -> None:
    graph = {"file": "guest_graphs.py", "name": "instructed", "instructions": "Be brief."}
    pipeline = document(agent("a", [], provider="agent_langchain", **graph))
    _, answers = await events_and_answers(mesh, pipeline, Question("Hi", instructions="In French."))
    assert "".join(answer.text for answer in answers) == "['Be brief.\\n\\nIn French.']"


async def test_a_builder_without_a_graph(mesh: Mesh) -> None:
    pipeline = document(agent("a", ["First."], provider="agent_langchain", file="guest_graphs.py", name="nothing"))
    async with mesh.run(pipeline, input="Hi") as run:
        result = await run.result()
    assert "Return a compiled graph" in str(result.error)


async def test_max_waves_ends_a_graph(mesh: Mesh) -> None:
    script = [call("weather", city="Oslo")]
    _, answers = await events_and_answers(mesh, document(agent("a", script, provider="agent_langchain", max_waves=2)))
    assert answers[-1].finish_reason == "length"
    assert "max_waves" in "".join(answer.text for answer in answers)
