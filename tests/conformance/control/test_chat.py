"""Models and tools in values: what an invoker asks and what a provider answers, in this process and over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from lanemesh import (
    ChatEvent,
    ChatFinish,
    ChatRequest,
    ChatText,
    Context,
    LanemeshError,
    Message,
    Node,
    Sampling,
    ToolCall,
    ToolSpec,
    Usage,
)
from lanemesh.chat_codec import decode_request, encode_request
from lanemesh.control.tools import ToolSet
from lanemesh.faults import Code
from lanemesh.v1 import control_pb2

from .conftest import Kit, Reach, helper_of, seen_by

WEATHER = ToolSpec("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})


class Chatty(Node):
    """A model in values: it says what it was asked, calls a tool where it has one, and misbehaves on request."""

    offers: ClassVar = ("llm",)
    seen: Any

    async def chat(self, context: Context, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        self.seen.nodes.append(request)
        said = request.messages[-1].content
        if said == "nonsense":
            yield 3  # type: ignore[misc]
        for word in said.split():
            yield ChatText(word)
        for tool in request.tools:
            yield ToolCall("call_1", tool.name, "{}")
        yield Usage(1, 2)
        yield ChatFinish("tool_calls" if request.tools else "stop")


def test_error_a_chat_that_yields_nothing_is_refused_when_its_class_is_defined() -> None:
    async def chat(self: Node, context: Context, request: ChatRequest) -> None:
        """Gives nothing."""

    with pytest.raises(LanemeshError, match="has a `chat` that yields nothing; write `async def chat"):
        type("Wrong", (Node,), {"offers": ("llm",), "chat": chat})


async def test_happy_a_whole_turn(reach: Reach) -> None:
    client = await reach.llm(helper_of(Chatty, "llm_1"))

    reply = await client.chat("rain in Oslo", tools=[WEATHER])

    assert (reply.text, str(reply), reply.finish_reason, reply.usage) == (
        "raininOslo",
        reply.text,
        "tool_calls",
        Usage(1, 2),
    )
    assert reply.tool_calls == (ToolCall("call_1", "weather", "{}"),)


async def test_streaming_events_come_in_order(reach: Reach) -> None:
    client = await reach.llm(helper_of(Chatty, "llm_1"))

    assert [event async for event in client.stream([Message("user", "a b")])] == [
        ChatText("a"),
        ChatText("b"),
        Usage(1, 2),
        ChatFinish("stop"),
    ]


async def test_a_provider_gets_all_that_was_asked(reach: Reach) -> None:
    helper = helper_of(Chatty, "llm_1")
    client = await reach.llm(helper)
    messages = (
        Message("system", "Be brief."),
        Message("assistant", "", (ToolCall("c", "weather", '{"city": "Oslo"}'),)),
        Message("tool", '"rain"', tool_call_id="c"),
    )
    sampling = Sampling(temperature=0, max_tokens=3, stop=("x",), seed=2**64 - 1)

    await client.chat(messages, tools=[WEATHER], schema={"type": "object"}, sampling=sampling)

    assert seen_by(helper).nodes == [ChatRequest(messages, (WEATHER,), {"type": "object"}, sampling)]


@pytest.mark.parametrize(("node", "text", "why"), [(Chatty, "nonsense", "yielded 3")])
async def test_error_a_provider_that_misbehaves_is_named(reach: Reach, node: type[Node], text: str, why: str) -> None:
    client = await reach.llm(helper_of(node, "llm_1"))

    with pytest.raises(LanemeshError, match=f"llm_1 .*chat .*{why}"):
        await client.chat(text)


@pytest.mark.parametrize(
    "request_",
    [{"schema_json": "{"}, {"schema_json": "[]"}, {"tools": [{"name": "a", "parameters_json": "[" * 100_000}]}],
)
async def test_error_a_request_of_others_that_cannot_be_read_is_refused(reach: Reach, request_: Any) -> None:
    link = await reach.link("llm", helper_of(Chatty, "llm_1"))

    with pytest.raises(LanemeshError) as raised:
        await anext(link.stream("Generate", control_pb2.GenerateRequest(**request_)))

    assert (raised.value.fault.code, raised.value.fault.reason) == (Code.INVALID_ARGUMENT, "bad-request")


async def test_a_tool_is_called_by_its_name(reach: Reach) -> None:
    tools = ToolSet([await reach.tools(helper_of(Kit, "tool_1"))])

    assert await tools["echo"](city="Oslo", days=[1, 2]) == {"city": "Oslo", "days": [1, 2]}
    assert [spec.name for spec in await tools.specs()] == ["echo", "fail", "hang", "mute"]


async def test_error_of_a_tool_is_raised(reach: Reach) -> None:
    tools = ToolSet([await reach.tools(helper_of(Kit, "tool_1"))])

    with pytest.raises(LanemeshError, match="the tool broke"):
        await tools["fail"]()
    with pytest.raises(LanemeshError, match='no tool "none"'):
        await tools["none"]()
    with pytest.raises(LanemeshError, match="ended without a result"):
        await tools["mute"]()


def test_a_request_is_the_same_after_its_journey() -> None:
    request = ChatRequest((Message("user", "é"),), (ToolSpec("a"), WEATHER), {"a": [1]}, Sampling(top_k=0, top_p=0.5))

    assert decode_request(encode_request(request)) == request
    assert decode_request(encode_request(ChatRequest((Message("user", ""),)))) == ChatRequest((Message("user", ""),))
