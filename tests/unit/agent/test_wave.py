"""An agent that works in waves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.values import Answer, Message, Question, ToolCall, Usage
from lanemesh_services.llm.errors import not_followed

from .conftest import PICTURE, MakeAgent

ADD = ("add", '{"a": 1, "b": 2}')


@pytest.mark.conformance("CTRL-06")
async def test_happy_thought_call_result_and_answer_in_the_order_in_which_they_happen(make_agent: MakeAgent) -> None:
    agent = make_agent([["I shall ", "add.", ADD], ["It ", "is 3."]])
    assert await agent.ask() == "It is 3."
    kinds = [event[:2] if isinstance(event, tuple) else "answer" for event in agent.events]
    assert kinds == [("thought", 1), ("call", 1), ("progress", 1), ("result", 1), "answer", "answer"]
    assert agent.seen("thought") == ["I shall add."]
    call, result = agent.seen("call")[0], agent.seen("result")[0]
    assert (call.name, call.arguments_json, result.content_json, result.is_error) == (*ADD, "3", False)
    assert call.id == result.call_id == agent.seen("progress")[0].call_id
    assert result.HasField("duration")
    assert agent.last == Answer(finish_reason="stop", usage=Usage(20, 5, tool_calls=1))


async def test_happy_the_model_sees_question_calls_and_results(make_agent: MakeAgent) -> None:
    agent = make_agent([["Hm.", ADD], ["3"]], instructions="Be brief.")
    history = (Message("user", "Hi"), Message("assistant", "Hello"))
    await agent.ask(Question("And 1 + 2?", instructions="In French.", history=history))
    first, second = agent.model.requests
    assert [tool.name for tool in first.tools] == ["add", "fail", "meet", "hang", "long", "draw"]
    turns = [(message.role, message.content) for message in second.messages]
    assert turns[0] == ("system", "Be brief.\n\nIn French.")
    assert turns[1:] == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "And 1 + 2?"),
        ("assistant", "Hm."),
        ("tool", "3"),
    ]
    assert second.messages[-2].tool_calls[0].id == second.messages[-1].tool_call_id


@pytest.mark.parametrize(("config", "images"), [({"result_images": True}, (PICTURE,)), ({}, ())])
async def test_happy_images_of_results_go_to_a_model_that_reads_them(
    make_agent: MakeAgent, config: dict[str, Any], images: tuple[Any, ...]
) -> None:
    agent = make_agent([[("draw", "{}")], ["done"]], **config)
    await agent.ask()
    last = agent.model.requests[-1].messages[-1]
    assert (last.role, last.images) == ("tool", images)


async def test_happy_without_tools_it_is_one_turn(make_agent: MakeAgent) -> None:
    agent = make_agent([["a", "b"]], tools=False)
    assert await agent.ask() == "ab"
    assert [event.text for event in agent.events] == ["a", "b", ""]


async def test_happy_ids_of_calls_are_unique_in_the_conversation(make_agent: MakeAgent) -> None:
    agent = make_agent([[ADD, ADD], [ADD], ["3"]])
    earlier = Message("assistant", "", tool_calls=(ToolCall("wave_1_call_1", "add", "{}"),))
    await agent.ask(Question("Again", history=(earlier, Message("tool", "0", tool_call_id="wave_1_call_1"))))
    ids = [call.id for call in agent.seen("call")]
    assert len({*ids, "wave_1_call_1"}) == 4


@pytest.mark.conformance("CTRL-06")
async def test_streaming_each_piece_of_the_answer_goes_out_before_the_next_is_made(make_agent: MakeAgent) -> None:
    agent = make_agent([[ADD], ["word "] * 40], holdback=20)
    await agent.ask()
    pieces = [event.text for event in agent.events if isinstance(event, Answer)]
    assert len(pieces[0]) <= 30
    assert pieces[1:-1] == ["word "] * (len(pieces) - 2)
    assert len(pieces) > 30


async def test_a_model_behind_a_router_whose_others_are_down_gets_tools_by_json(make_agent: MakeAgent) -> None:
    fault = Fault(code=Code.UNAVAILABLE, reason="no-model-answered", message="none", details={"field": "tools"})
    turn = json.dumps({"thought": "", "calls": [], "answer": "Oslo"})
    agent = make_agent([[LanemeshError(fault)], [turn]])
    assert await agent.ask() == "Oslo"
    assert [bool(request.tools) for request in agent.model.requests] == [True, False]


async def test_streaming_text_that_went_out_before_a_call_stays_in_the_answer(make_agent: MakeAgent) -> None:
    long = "Let me think about this for quite a while."
    agent = make_agent([[long, ADD], ["Short.", ADD], ["It is 3."]], holdback=10)
    assert await agent.ask() == f"{long}\n\nIt is 3."
    assert agent.seen("thought") == [long, "Short."]


async def test_streaming_text_after_a_call_is_a_thought(make_agent: MakeAgent) -> None:
    agent = make_agent([["Before.", ADD, "Between.", ADD, "After."], ["3"]])
    assert await agent.ask() == "3"
    assert agent.seen("thought") == ["Before.", "Between.", "After."]
    assert agent.model.requests[1].messages[-3].content == "Before.Between.After."


@pytest.mark.conformance("CTRL-03")
async def test_happy_calls_of_a_wave_run_at_the_same_time(make_agent: MakeAgent) -> None:
    agent = make_agent([[("meet", "{}"), ("meet", "{}")], ["They met."]], tool_timeout=5)
    assert await agent.ask() == "They met."
    assert not any(result.is_error for result in agent.seen("result"))


@pytest.mark.conformance("CTRL-03")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("fail", "{}"), "ValueError: out of numbers"),
        (("hang", "{}"), "it did not end within 0.1 s"),
        (("sing", "{}"), 'there is no tool "sing"; the tools: add, fail, meet, hang, long'),
        (("add", "[1, 2]"), "are not a JSON object: they are an array"),
        (("add", '"1"'), "are not a JSON object: they are a string"),
        (("add", "{oops"), "are not a JSON object"),
    ],
)
async def test_error_a_failing_tool_is_a_result_that_the_model_sees(
    make_agent: MakeAgent, call: tuple[str, str], message: str
) -> None:
    agent = make_agent([[call, ADD], ["I could not."]], tool_timeout=0.1)
    assert await agent.ask() == "I could not."
    failed, well = agent.model.requests[1].messages[-2:]
    content = json.loads(failed.content)
    assert message in content["error"]
    reasons = {"fail": "node-error", "hang": "helper-timeout", "sing": "unknown-tool"}
    assert content["reason"] == reasons.get(call[0], "bad-arguments")
    assert well.content == "3"
    assert sorted(result.is_error for result in agent.seen("result")) == [False, True]


async def test_error_too_many_calls_and_too_long_results_are_reported_to_the_model(make_agent: MakeAgent) -> None:
    agent = make_agent([[("long", "{}"), ADD], ["Done."]], max_calls=1, max_result=100)
    await agent.ask()
    long, refused = agent.model.requests[1].messages[-2:]
    truncated = json.loads(long.content)
    assert (len(truncated["truncated"]), truncated["note"]) == (100, "first 100 of 1002 characters")
    assert "at most 1 tool call; make fewer at once" in json.loads(refused.content)["error"]
    assert agent.bench.ended == ["long"]


@pytest.mark.conformance("CTRL-04")
async def test_happy_max_waves_ends_in_an_answer_that_states_it(make_agent: MakeAgent) -> None:
    agent = make_agent([[ADD], [ADD], ["About ", "3."]], max_waves=2)
    answer = await agent.ask()
    assert answer == "About 3.\n\n[Stopped after 2 waves of tool calls, the limit of max_waves.]"
    assert agent.last.finish_reason == "length"
    assert "max_waves reached" in agent.seen("thought")[-1]
    last = agent.model.requests[2]
    assert not last.tools
    assert "used all 2 waves" in last.messages[-1].content
    assert len(agent.seen("call")) == 2


@pytest.mark.conformance("CTRL-04")
async def test_happy_max_waves_with_a_model_that_never_stops_calling(make_agent: MakeAgent) -> None:
    agent = make_agent([[ADD]], max_waves=3)
    assert await agent.ask() == "[Stopped after 3 waves of tool calls, the limit of max_waves.]"
    assert len(agent.seen("call")) == len(agent.seen("result")) == 3


async def test_happy_a_structured_answer_comes_in_a_turn_without_tools(make_agent: MakeAgent) -> None:
    agent = make_agent([[ADD], ["I have it."], ['{"sum"', ": 3}"]])
    assert await agent.ask(Question("1 + 2?", schema={"type": "object"})) == '{"sum": 3}'
    assert agent.last.data == {"sum": 3}
    assert agent.seen("thought") == ["I have it."]
    assert [bool(request.schema) for request in agent.model.requests] == [False, False, True]
    assert [bool(request.tools) for request in agent.model.requests] == [True, True, False]


SUM = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": False}


@pytest.mark.parametrize("tools", [True, False])
@pytest.mark.parametrize(
    "wrong", [['{"sum": "three", "n": 1}'], ["It is 3."], ['{"sum": ', not_followed("x is no y")], [""]]
)
async def test_a_structured_answer_that_breaks_its_schema_is_repaired_once(
    make_agent: MakeAgent, tools: bool, wrong: list[Any]
) -> None:
    agent = make_agent([*([["I have it."]] if tools else []), wrong, ['{"sum"', ": 3}"]], tools=tools)
    assert await agent.ask(Question("1 + 2?", schema=SUM)) == '{"sum": 3}'
    assert agent.last.data == {"sum": 3}
    *_, said, request = agent.model.requests[-1].messages
    assert (said.role, said.content) == ("assistant", wrong[0])
    assert request.content.startswith("Your answer does not follow its JSON schema: ")
    if wrong[0].endswith("}"):
        assert "at /sum; " in request.content
        assert "'n'" in request.content or '"n"' in request.content
    assert "does not follow its schema" in agent.seen("thought")[-1]


@pytest.mark.parametrize("wrong", [["It is 3."], ['{"sum": ', not_followed("x is no y")]])
async def test_a_structured_answer_that_breaks_its_schema_twice_is_a_fault(
    make_agent: MakeAgent, wrong: list[Any]
) -> None:
    agent = make_agent([wrong], tools=False)
    with pytest.raises(LanemeshError, match="also at the second try: ") as caught:
        await agent.ask(Question("1 + 2?", schema=SUM))
    assert caught.value.fault.reason == "schema-not-followed"
    assert len(agent.model.requests) == 2
    assert not any(isinstance(event, Answer) for event in agent.events)


async def test_error_of_the_model_is_the_agents_error(make_agent: MakeAgent) -> None:
    agent = make_agent([])
    with pytest.raises(LanemeshError, match="IndexError") as caught:
        await agent.ask()
    assert caught.value.fault.details["component"] == "llm_1"


async def test_error_of_the_model_in_a_turn_with_calls_ends_each_of_them(make_agent: MakeAgent) -> None:
    agent = make_agent(
        [[ADD], [ADD, ("fail", "{}"), ZeroDivisionError("the line broke")]], schedules={"fail": "background"}
    )
    with pytest.raises(LanemeshError, match="the line broke"):
        await agent.ask()
    calls, results = agent.seen("call"), agent.seen("result")
    assert [call.id for call in calls] == [result.call_id for result in results]
    assert [result.is_error for result in results] == [False, True, True]
    assert "ended before this call had a result" in results[-1].content_json


@pytest.mark.parametrize("schedule", ["wait", "background"])
async def test_shutdown_each_call_of_a_cancelled_agent_has_one_result(make_agent: MakeAgent, schedule: str) -> None:
    agent = make_agent([[("hang", "{}"), ADD], ["word"]], schedules={"hang": schedule}, max_parallel=1)
    task = asyncio.create_task(agent.ask())
    await asyncio.wait_for(agent.bench.hanging.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(call.id for call in agent.seen("call")) == sorted(result.call_id for result in agent.seen("result"))


@pytest.mark.conformance("CTRL-10")
async def test_shutdown_cancelling_the_agent_cancels_its_calls(make_agent: MakeAgent) -> None:
    agent = make_agent([[("hang", "{}")]])
    task = asyncio.create_task(agent.ask())
    await asyncio.wait_for(agent.bench.hanging.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert agent.bench.ended == ["hang"]


async def test_a_structured_answer_that_cannot_be_held_is_text_with_a_warning(
    make_agent: MakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    said = '{"sum": 123456789012345678901234567890}'
    agent = make_agent([[said]], tools=False)

    assert await agent.ask(Question("1 + 2?", schema={"type": "object"})) == said
    assert "does not fit in 64 bits" in caplog.text


async def test_arguments_that_are_nested_too_deep_are_a_result_that_the_model_sees(make_agent: MakeAgent) -> None:
    agent = make_agent([[("add", "[" * 100_000)], ["done"]])

    assert await agent.ask("1 + 2?") == "done"
    assert "nested too deep" in agent.model.requests[-1].messages[-1].content


async def test_a_short_answer_keeps_what_looks_like_a_reference(make_agent: MakeAgent) -> None:
    agent = make_agent([["A variable begins with {{ and a name."]])
    assert await agent.ask() == "A variable begins with {{ and a name."
