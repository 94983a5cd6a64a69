"""`/v1/chat/completions` and `/v1/models`, by the official SDK of OpenAI."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from lanemesh.client.updates import RunState
from pydantic import BaseModel

from rigs.model_gateway import ModelGateway, answering, scripted
from rigs.openai_rules import check_error
from rigs.sdk_clients import openai_client

if TYPE_CHECKING:
    import openai

PNG = b"\x89PNG\r\n\x1a\n"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
LOOK: Any = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}


@pytest.fixture
async def client(gateway: ModelGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai_client(f"{gateway.url}/v1") as made:
        yield made


async def asked(client: openai.AsyncOpenAI, **request: Any) -> Any:
    """What the pipeline "noted" got."""
    given = {"model": "noted", "messages": HELLO, **request}
    completion = await client.chat.completions.create(**given)
    return json.loads(completion.choices[0].message.content or "")


async def test_models_are_the_deployed_pipelines_that_answer(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    import openai

    await gateway.deploy("answers", "hi")
    await gateway.deploy("text", "hi", lane="text")
    no_target: dict[str, Any] = scripted("hi")
    no_target["components"].pop()
    await gateway.mesh.deploy("silent", no_target)

    models = {model.id: model async for model in client.models.list()}

    assert models.keys() == {"answers", "text"}
    assert models["text"].owned_by == "lanemesh"
    assert (await client.models.retrieve("text")).created == models["text"].created
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("silent")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("lane", ["answers", "text"])
async def test_a_completion_is_the_answer_with_usage(
    gateway: ModelGateway, client: openai.AsyncOpenAI, lane: str
) -> None:
    await gateway.deploy("chat", "one two three", lane=lane)

    completion = await client.chat.completions.create(model="chat", messages=HELLO)

    assert completion.id.startswith("chatcmpl-run-")
    assert completion.choices[0].message.content == "one two three"
    assert completion.choices[0].finish_reason == "stop"
    if lane == "answers":
        assert completion.usage is not None
        assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (1, 3)


async def test_a_stream_has_the_words_one_finish_and_the_usage(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    await gateway.deploy("chat", "one two three")

    stream = await client.chat.completions.create(
        model="chat", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    texts = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert texts == ["one", " two", " three"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 4
    plain = await client.chat.completions.create(model="chat", messages=HELLO, stream=True)
    assert [chunk.usage async for chunk in plain] == [None] * 5


async def test_the_model_asks_for_tools_and_gets_their_results(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    calls = [{"name": "look", "arguments": {"at": "the sky"}}, {"name": "look", "arguments": {"at": "me"}}]
    await gateway.deploy("chat", {"text": "Well.", "tool_calls": calls}, "It is blue.")
    messages = list(HELLO)

    first = (await client.chat.completions.create(model="chat", messages=messages, tools=[LOOK])).choices[0]
    messages.append(first.message.model_dump(exclude_none=True))
    for call in first.message.tool_calls or ():
        messages.append({"role": "tool", "tool_call_id": call.id, "content": '"blue"'})
    second = (await client.chat.completions.create(model="chat", messages=messages, tools=[LOOK])).choices[0]

    assert first.finish_reason == "tool_calls"
    assert first.message.content == "Well."
    assert [json.loads(call.function.arguments)["at"] for call in first.message.tool_calls or ()] == ["the sky", "me"]  # type: ignore[union-attr]
    assert second.message.content == "It is blue."
    assert second.finish_reason == "stop"


async def test_a_stream_of_tool_calls_is_assembled_by_the_sdk(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    calls = [{"name": "look", "arguments": {"at": "a"}}, {"name": "look", "arguments": {"at": "b"}}]
    await gateway.deploy("chat", {"text": "", "tool_calls": calls})

    async with client.chat.completions.stream(model="chat", messages=HELLO, tools=[LOOK]) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()

    assert final.choices[0].finish_reason == "tool_calls"
    assert [call.function.arguments for call in final.choices[0].message.tool_calls or ()] == [
        '{"at": "a"}',
        '{"at": "b"}',
    ]


async def test_the_question_has_the_whole_conversation(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    await gateway.mesh.deploy("noted", answering("noted_question"))
    picture = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "x"}'}}
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "Look!"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        {"role": "assistant", "content": "I did."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And this?"},
                {"type": "image_url", "image_url": {"url": picture}},
            ],
        },
    ]

    question = (await asked(client, messages=messages, tools=[LOOK]))["question"]

    assert question["instructions"] == "Be brief.\n\nBe kind."
    assert question["text"] == "And this?"
    assert base64.b64decode(question["images"][0]["content"]) == PNG
    assert [turn["role"] for turn in question["history"]] == ["user", "assistant", "tool", "assistant"]
    assert question["history"][1]["tool_calls"] == [{"id": "c1", "name": "look", "arguments": '{"at": "x"}'}]
    assert question["history"][2]["tool_call_id"] == "c1"
    assert question["tools"][0] == {
        "name": "look",
        "description": "Looks.",
        "parameters": LOOK["function"]["parameters"],
    }


async def test_a_schema_reaches_the_model_and_the_sdk_parses_the_answer(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    class Sum(BaseModel):
        total: int

    await gateway.mesh.deploy("noted", answering("noted_question"))
    await gateway.deploy("chat", '{"total": 3}')

    parsed = await client.chat.completions.parse(model="chat", messages=HELLO, response_format=Sum)
    with_schema = await asked(
        client, response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "array"}}}
    )
    with_object = await asked(client, response_format={"type": "json_object"})

    assert parsed.choices[0].message.parsed == Sum(total=3)
    assert with_schema["question"]["schema"] == {"type": "array"}
    assert with_object["question"]["schema"] == {"type": "object"}


async def test_sampling_overrides_the_settings_of_the_only_model(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    import openai

    await gateway.mesh.deploy("noted", answering("noted_question"))
    await gateway.deploy("chat", "one two three four")

    assert (await asked(client, temperature=1.5, max_completion_tokens=7))["settings"] == {
        "temperature": 1.5,
        "max_tokens": 7,
    }
    with pytest.raises(openai.BadRequestError) as caught:
        await asked(client, top_p=0.5)
    assert caught.value.param == "top_p"
    cut = await client.chat.completions.create(model="chat", messages=HELLO, max_tokens=2)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("one two", "length")
    stopped = await client.chat.completions.create(model="chat", messages=HELLO, stop=" three")
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("one two", "stop")


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        ({"model": "chta"}, "model", "model_not_found"),
        ({"messages": []}, "messages", "bad_request"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0]", "unsupported_parameter"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "bad_request"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages[0]", "bad_request"),
        (
            {"messages": [*HELLO, {"role": "tool", "tool_call_id": "c9", "content": "x"}]},
            "messages[1]",
            "unknown_tool_call",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                    },
                    *HELLO,
                ]
            },
            "messages[0]",
            "unknown_tool_call",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a.example/b.png"}}]}
                ]
            },
            "messages[0].content[0].image_url.url",
            "unsupported_parameter",
        ),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"temperature": 2.5}, "temperature", "bad_request"),
        ({"tools": [LOOK, LOOK]}, "tools", "bad_request"),
        ({"tools": [LOOK], "tool_choice": "required"}, "tool_choice", "unsupported_parameter"),
        ({"extra_body": {"magic": True}}, "magic", "unsupported_parameter"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "unsupported_parameter"),
    ],
)
async def test_wrong_requests_are_refused_at_their_place(
    gateway: ModelGateway, client: openai.AsyncOpenAI, request_: dict[str, Any], param: str, code: str
) -> None:
    import openai

    await gateway.deploy("chat", "hi")

    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(**{"model": "chat", "messages": HELLO, **request_})

    assert caught.value.status_code == (404 if param == "model" else 400)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert isinstance(caught.value.body, dict)
    check_error({"error": caught.value.body})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"model": 3}, "model: it must be a string"),
        ({"messages": "x"}, "messages: it must be a list"),
        ({"messages": ["x"]}, "messages[0]: it must be an object"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content: it must be a string or a list"),
        ({"messages": [{"role": "user"}]}, "messages[0].content: this field is missing"),
        ({"stop": 5}, "stop: it must be a string or a list"),
        ({"temperature": 9}, "temperature: it must be at most 2.0"),
    ],
)
async def test_what_a_field_must_be_is_in_the_words_of_the_api(
    gateway: ModelGateway, request_: dict[str, Any], message: str
) -> None:
    async with httpx.AsyncClient() as client:
        body = {"model": "chat", "messages": HELLO, **request_}
        answer = await client.post(f"{gateway.url}/v1/chat/completions", json=body)

    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)


async def test_what_is_no_json_is_refused(gateway: ModelGateway) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        for body in (b"", b"{", b"[]", b"\xff\xfe", b'{"model": NaN}', b"[" * 100_000):
            response = await client.post("/v1/chat/completions", content=body)
            assert response.status_code == 400
            check_error(response.json())


async def test_a_pipeline_of_text_takes_one_message(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    import openai

    echo = {
        "components": [
            {"id": "chat_1", "provider": "chat"},
            {"id": "words_1", "provider": "paused_answer", "input": [{"lane": "text", "from": "chat_1"}]},
            {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "words_1"}]},
        ]
    }
    await gateway.mesh.deploy("echo", echo)

    answer = await client.chat.completions.create(model="echo", messages=HELLO)
    with pytest.raises(openai.BadRequestError, match="takes only text"):
        await client.chat.completions.create(model="echo", messages=[{"role": "system", "content": "Be"}, *HELLO])

    assert answer.choices[0].message.content == "Hello"


async def test_a_run_that_fails_at_once_is_an_http_error(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    import openai

    await gateway.deploy("chat", {"fail": "out of order"})

    for stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="out of order") as caught:
            await client.chat.completions.create(model="chat", messages=HELLO, stream=stream)
        assert caught.value.response.headers["x-should-retry"] == "false"


async def test_a_run_that_fails_after_the_first_token_ends_its_stream_with_an_error(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    import openai

    await gateway.deploy("chat", {"text": "one two", "fail": "out of order"})

    stream = await client.chat.completions.create(model="chat", messages=HELLO, stream=True)
    texts: list[str | None] = []

    async def read() -> None:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content)

    with pytest.raises(openai.APIError, match="out of order"):
        await read()

    assert texts[1] == "one"
    # The client of the SDK closes its connection at the error, this one reads on.
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as raw:
        body = {"model": "chat", "messages": HELLO, "stream": True}
        assert (await raw.post("/v1/chat/completions", json=body)).text.endswith("data: [DONE]\n\n")
    assert gateway.streams[-1].is_whole


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_disconnects_cancels_the_run(
    gateway: ModelGateway, client: openai.AsyncOpenAI, stream: bool
) -> None:
    await gateway.mesh.deploy("endless", answering("endless_answer"))

    async with gateway.mesh.channels().subscribe("mesh:asked") as questions:
        request: dict[str, Any] = {"model": "endless", "messages": HELLO, "stream": stream}
        asking: asyncio.Task[Any] = asyncio.create_task(client.chat.completions.create(**request))
        assert await anext(questions) == "Hello"
        if stream:
            await (await asking).close()
        asking.cancel()
        await asyncio.wait([asking])

    (record,) = await gateway.mesh.runs()
    assert not record.detached
    async with asyncio.timeout(20):
        result = await gateway.mesh.attach(record.run_id).result()
    assert result.state is RunState.CANCELLED


async def test_completions_with_a_session_are_its_turns(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    await gateway.mesh.deploy("noted", answering("noted_question"))
    headers = {"Lanemesh-Session": "session-of-a-test"}

    await asked(client, extra_headers=headers)
    second = await asked(client, extra_headers=headers, messages=[{"role": "user", "content": "And?"}])

    assert [turn["role"] for turn in second["question"]["history"]] == ["user", "assistant"]
    assert second["question"]["history"][0]["content"] == "Hello"
    turns = await gateway.mesh.session("@noted", "session-of-a-test").turns()
    assert [turn.question.text for turn in turns] == ["Hello", "And?"]
