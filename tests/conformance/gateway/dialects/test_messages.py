"""`/v1/messages`, by the official SDK of Anthropic."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from lanemesh.client.updates import RunState

from rigs.anthropic_rules import check_error, check_message
from rigs.model_gateway import ModelGateway, answering
from rigs.sdk_clients import anthropic_client

if TYPE_CHECKING:
    import anthropic

PNG = b"\x89PNG\r\n\x1a\n"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
LOOK: Any = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}


@pytest.fixture
async def client(gateway: ModelGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic_client(gateway.url) as made:
        yield made


async def test_a_message_is_the_answer_with_usage(gateway: ModelGateway, client: anthropic.AsyncAnthropic) -> None:
    await gateway.deploy("chat", "one two three")

    message = await client.messages.create(model="chat", max_tokens=100, messages=HELLO)
    cut = await client.messages.create(model="chat", max_tokens=2, messages=HELLO)
    raw = await client.messages.with_raw_response.create(model="chat", max_tokens=9, messages=HELLO)

    assert [block.text for block in message.content if block.type == "text"] == ["one two three"]
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 3)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)
    check_message(json.loads(await raw.text()))


async def test_half_of_a_surrogate_pair_in_the_arguments_of_a_tool_is_sent(gateway: ModelGateway) -> None:
    await gateway.deploy("chat", {"tool_calls": [{"name": "look", "arguments": '{"q": "\\ud83d"}'}]})
    body = {"model": "chat", "max_tokens": 9, "messages": HELLO, "tools": [LOOK]}

    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as web:
        answer = await web.post("/v1/messages", json=body)

    assert answer.status_code == 200
    assert [block["input"] for block in answer.json()["content"]] == [{"q": "\ud83d"}]


async def test_a_stream_is_assembled_by_the_sdk(gateway: ModelGateway, client: anthropic.AsyncAnthropic) -> None:
    calls = [{"name": "look", "arguments": {"at": "a"}}, {"name": "look", "arguments": {"at": "b"}}]
    await gateway.deploy("chat", {"text": "Well then.", "tool_calls": calls})

    async with client.messages.stream(model="chat", max_tokens=100, messages=HELLO, tools=[LOOK]) as stream:
        texts = [text async for text in stream.text_stream]
        final = await stream.get_final_message()

    assert texts == ["Well", " then."]
    assert final.stop_reason == "tool_use"
    assert [block.input for block in final.content if block.type == "tool_use"] == [{"at": "a"}, {"at": "b"}]
    assert final.usage.input_tokens == 1


async def test_the_model_asks_for_tools_and_gets_their_results(
    gateway: ModelGateway, client: anthropic.AsyncAnthropic
) -> None:
    calls = [{"name": "look", "arguments": {"at": "a"}}, {"name": "look", "arguments": {"at": "b"}}]
    await gateway.deploy("chat", {"text": "Well.", "tool_calls": calls}, "It is blue.")
    messages = list(HELLO)

    first = await client.messages.create(model="chat", max_tokens=100, messages=messages, tools=[LOOK])
    messages.append({"role": "assistant", "content": first.content})
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "blue"}
        for block in first.content
        if block.type == "tool_use"
    ]
    messages.append({"role": "user", "content": results})
    second = await client.messages.create(model="chat", max_tokens=100, messages=messages, tools=[LOOK])

    assert first.stop_reason == "tool_use"
    assert [block.text for block in second.content if block.type == "text"] == ["It is blue."]


async def test_the_question_has_the_whole_conversation(gateway: ModelGateway, client: anthropic.AsyncAnthropic) -> None:
    await gateway.mesh.deploy("noted", answering("noted_question"))
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    messages: list[Any] = [
        {"role": "user", "content": "Look!"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "x"}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "seen"}]},
                {"type": "text", "text": "And this?"},
                {"type": "image", "source": source},
            ],
        },
    ]

    warmer = {"temperature": 0.25}
    message = await client.messages.create(
        model="noted", max_tokens=7, messages=messages, system="Be brief.", tools=[LOOK], extra_body=warmer
    )

    assert message.content[0].type == "text"
    got = json.loads(message.content[0].text)
    assert got["settings"] == {"temperature": 0.25, "max_tokens": 7}
    question = got["question"]
    assert (question["text"], question["instructions"]) == ("And this?", "Be brief.")
    assert [turn["role"] for turn in question["history"]] == ["user", "assistant", "tool"]
    assert question["history"][1]["tool_calls"] == [{"id": "c1", "name": "look", "arguments": '{"at": "x"}'}]
    assert question["history"][2] == {"role": "tool", "content": "seen", "tool_call_id": "c1"}
    assert base64.b64decode(question["images"][0]["content"]) == PNG
    assert question["tools"][0]["name"] == "look"


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": []},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c9"}]}]},
        {"messages": [*HELLO, {"role": "assistant", "content": "I"}]},
        {"messages": [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "c"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
        {"max_tokens": 0},
        {"extra_body": {"temperature": 1.5}},
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
        {"tools": [LOOK], "tool_choice": {"type": "any"}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"extra_body": {"magic": 1}},
    ],
)
async def test_wrong_requests_are_refused(
    gateway: ModelGateway, client: anthropic.AsyncAnthropic, request_: dict[str, Any]
) -> None:
    import anthropic

    await gateway.deploy("chat", "hi")

    with pytest.raises(anthropic.BadRequestError) as caught:
        await client.messages.create(**{"model": "chat", "max_tokens": 9, "messages": HELLO, **request_})

    assert isinstance(caught.value.body, dict)
    check_error(caught.value.body)
    assert caught.value.body["error"]["type"] == "invalid_request_error"


async def test_models_are_listed(gateway: ModelGateway, client: anthropic.AsyncAnthropic) -> None:
    await gateway.deploy("chat", "hi")

    assert [(model.id, model.display_name) async for model in client.models.list()] == [("chat", "chat")]
    assert (await client.models.retrieve("chat")).created_at.tzinfo is not None


async def test_an_unknown_model_is_not_found(gateway: ModelGateway, client: anthropic.AsyncAnthropic) -> None:
    import anthropic

    with pytest.raises(anthropic.NotFoundError, match="there is no model"):
        await client.messages.create(model="chat", max_tokens=9, messages=HELLO)


async def test_a_run_that_fails_after_the_first_token_ends_its_stream_with_an_error(
    gateway: ModelGateway, client: anthropic.AsyncAnthropic
) -> None:
    import anthropic

    await gateway.deploy("chat", {"text": "one two", "fail": "out of order"})
    texts: list[str] = []

    async def read() -> None:
        async with client.messages.stream(model="chat", max_tokens=9, messages=HELLO) as stream:
            async for text in stream.text_stream:
                texts.append(text)

    with pytest.raises(anthropic.APIError, match="out of order"):
        await read()

    assert texts == ["one", " two"]
    # The client of the SDK closes its connection at the error, this one reads on.
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as raw:
        body = {"model": "chat", "max_tokens": 9, "messages": HELLO, "stream": True}
        assert "out of order" in (await raw.post("/v1/messages", json=body)).text
    assert gateway.streams[-1].is_whole


@pytest.mark.parametrize("stream", [True, False])
async def test_arguments_that_are_no_object_are_an_error(
    gateway: ModelGateway, client: anthropic.AsyncAnthropic, stream: bool
) -> None:
    import anthropic

    await gateway.deploy("chat", {"text": "Well.", "tool_calls": [{"name": "look", "arguments": "{broken"}]})

    async def read() -> None:
        request: dict[str, Any] = {"model": "chat", "max_tokens": 9, "messages": HELLO, "tools": [LOOK]}
        if stream:
            async with client.messages.stream(**request) as answer:
                await answer.get_final_message()
        else:
            await client.messages.create(**request)

    with pytest.raises(anthropic.APIError, match="not a JSON object"):
        await read()


async def test_a_client_that_disconnects_cancels_the_run(
    gateway: ModelGateway, client: anthropic.AsyncAnthropic
) -> None:
    await gateway.mesh.deploy("endless", answering("endless_answer"))

    async with gateway.mesh.channels().subscribe("mesh:asked") as questions:
        stream = await client.messages.create(model="endless", max_tokens=9, messages=HELLO, stream=True)
        await anext(questions)
        await stream.close()

    (record,) = await gateway.mesh.runs()
    async with asyncio.timeout(20):
        result = await gateway.mesh.attach(record.run_id).result()
    assert result.state is RunState.CANCELLED
