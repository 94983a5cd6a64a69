"""An agent as its invoker sees it: the same in this process and over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

import pytest
from lanemesh import (
    AgentEvent,
    AgentReply,
    AgentRequest,
    AgentThought,
    Answer,
    Context,
    LanemeshError,
    Message,
    Node,
    ToolCall,
    ToolProgress,
    ToolResult,
    Usage,
)
from lanemesh.agents import AgentStep
from lanemesh.control.agent import LinkedAgent
from lanemesh.faults import Code
from lanemesh.v1 import control_pb2

from rigs.runs import until

from .conftest import Reach, helper_of, seen_by

STEPS: tuple[AgentStep, ...] = (
    AgentThought("I look it up."),
    ToolCall("c1", "search", '{"q": "x"}'),
    ToolProgress("half", 0.5, "c1", Usage(1, 0, 0.5)),
    ToolResult('"found"', "c1", "search", seconds=0.25, usage=Usage(1, 1, 0.5, 2)),
)


class Researcher(Node):
    """An agent that shows every step; "boom" breaks it, "hang" makes it wait, "mute" ends without an answer, "odd" yields a 3."""

    offers: ClassVar = ("agent",)
    seen: Any

    async def run_agent(self, context: Context, request: AgentRequest) -> AsyncIterator[Any]:
        self.seen.nodes.append(request)
        try:
            for step in STEPS:
                yield step
            self.seen.begun.set()
            match request.messages[-1].content:
                case "hang":
                    await asyncio.Event().wait()
                case "boom":
                    raise ZeroDivisionError("the agent broke")
                case "mute":
                    return
                case "odd":
                    yield 3
            yield AgentEvent(Answer("It is "), wave=2, usage=Usage(2, 1, tool_calls=3))
            yield Answer("found.", data={"n": 1}, finish_reason="stop", usage=Usage(3, 4))
            yield AgentThought("nobody reads this")
        finally:
            self.seen.closed.set()


async def agent_of(reach: Reach, helper: Any, timeout: float | None = 30) -> LinkedAgent:
    return LinkedAgent(await reach.link("agent", helper, timeout))


async def test_happy_the_whole_answer(reach: Reach) -> None:
    helper = helper_of(Researcher, "agent_2")
    agent = await agent_of(reach, helper)
    await agent.reach()

    reply = await agent.run("what is x?")

    assert reply == AgentReply("It is found.", {"n": 1}, "stop", Usage(3, 4), 2)
    assert str(reply) == "It is found."
    await until(lambda: not helper.activity.active)  # its last piece arrives before its end
    activity = helper.activity
    assert (activity.calls, activity.failed) == (1, 0)
    assert (activity.prompt_tokens, activity.completion_tokens) == (3, 4)


async def test_streaming_every_step_comes_in_order_with_its_round(reach: Reach) -> None:
    agent = await agent_of(reach, helper_of(Researcher, "agent_2"))

    events = [event async for event in agent.stream("what is x?")]

    assert events == [
        *map(AgentEvent, STEPS),
        AgentEvent(Answer("It is "), 2, Usage(2, 1, tool_calls=3)),
        AgentEvent(Answer("found.", {"n": 1}, "stop", Usage(3, 4)), 2),
    ]


async def test_an_agent_gets_all_that_was_asked(reach: Reach) -> None:
    helper = helper_of(Researcher, "agent_2")
    agent = await agent_of(reach, helper)
    messages = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]

    await agent.run(messages, instructions="Be brief.", schema={"type": "object"}, max_waves=3)

    assert seen_by(helper).nodes == [AgentRequest(tuple(messages), "Be brief.", {"type": "object"}, 3)]


async def test_error_of_the_agent_arrives_whole_after_what_came_before(reach: Reach) -> None:
    agent = await agent_of(reach, helper_of(Researcher, "agent_2"))
    events = agent.stream("boom")

    assert [(await anext(events)).step for _ in STEPS] == list(STEPS)
    with pytest.raises(LanemeshError, match="ZeroDivisionError: the agent broke") as caught:
        await anext(events)

    assert caught.value.fault.details["component"] == "agent_2"


async def test_error_an_agent_without_an_answer(reach: Reach) -> None:
    agent = await agent_of(reach, helper_of(Researcher, "agent_2"))

    with pytest.raises(LanemeshError, match=r"agent_2.* ended without an answer") as caught:
        await agent.run("mute")

    assert caught.value.fault.reason == "no-result"


async def test_error_an_agent_that_yields_something_else(reach: Reach) -> None:
    agent = await agent_of(reach, helper_of(Researcher, "agent_2"))

    with pytest.raises(LanemeshError, match=r"agent_2 \(researcher\): run_agent yielded 3; yield AgentThought"):
        await agent.run("odd")


@pytest.mark.parametrize("request_", [{}, {"messages": [{"role": "user"}], "schema_json": "["}])
async def test_error_a_request_of_others_that_cannot_be_read_is_refused(reach: Reach, request_: Any) -> None:
    link = await reach.link("agent", helper_of(Researcher, "agent_2"))

    with pytest.raises(LanemeshError, match=r"agent_2 \(researcher\) received an invalid request") as raised:
        await anext(link.stream("RunAgent", control_pb2.RunAgentRequest(**request_)))

    assert (raised.value.fault.code, raised.value.fault.reason) == (Code.INVALID_ARGUMENT, "bad-request")


async def test_error_a_deadline_cancels_the_agent(reach: Reach) -> None:
    helper = helper_of(Researcher, "agent_2")
    agent = await agent_of(reach, helper)

    with pytest.raises(LanemeshError, match=r"agent_1 called the agent helper agent_2.* did not end within 0.2 s"):
        await agent.run("hang", timeout=0.2)

    await asyncio.wait_for(seen_by(helper).closed.wait(), 5)


@pytest.mark.conformance("CTRL-10")
async def test_shutdown_cancelling_the_invoker_cancels_the_agent(reach: Reach) -> None:
    helper = helper_of(Researcher, "agent_2")
    agent = await agent_of(reach, helper)
    task = asyncio.create_task(agent.run("hang"))
    await asyncio.wait_for(seen_by(helper).begun.wait(), 5)

    task.cancel()

    await asyncio.wait_for(seen_by(helper).closed.wait(), 5)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_shutdown_leaving_the_iteration_cancels_the_agent(reach: Reach) -> None:
    helper = helper_of(Researcher, "agent_2")
    async with aclosing((await agent_of(reach, helper)).stream("hang")) as events:
        assert await anext(events) == AgentEvent(STEPS[0])

    await asyncio.wait_for(seen_by(helper).closed.wait(), 5)


def test_error_a_run_agent_that_yields_nothing_is_refused_when_its_class_is_defined() -> None:
    async def run_agent(self: Node, context: Context, request: AgentRequest) -> None:
        """Gives nothing."""

    with pytest.raises(LanemeshError, match="has a `run_agent` that yields nothing; write `async def run_agent"):
        type("Wrong", (Node,), {"offers": ("agent",), "run_agent": run_agent})


def test_error_a_task_without_a_message() -> None:
    with pytest.raises(ValueError, match="at least one message"):
        AgentRequest(())
