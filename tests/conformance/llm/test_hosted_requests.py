"""What models behind HTTP are sent: conversations, images, tools, schemas and settings in each dialect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lanemesh import ChatRequest, Image, Message, Sampling, ToolCall, ToolSpec
from lanemesh_services.llm.hosted import HostedEngine
from lanemesh_services.llm.openai import BASE_URL
from lanemesh_services.shared.errors import GenerationRefused

from rigs.hosted_dialects import DIALECTS, Chat, Dialect, OpenAiResponses
from rigs.hosted_server import HostedServer, Reply, hosted_server

from .turns import read_turn

PNG = Image("image/png", b"\x89PNG")
DATA = "data:image/png;base64,iVBORw=="
LOOK = Message("user", "What is it?", images=(PNG, Image("image/jpeg", uri="https://example.com/a.jpg")))
CONVERSATION = (
    Message("system", "Be brief."),
    LOOK,
    Message("assistant", "I look.", (ToolCall("c1", "zoom", '{"by": 2}'), ToolCall("c2", "zoom", "{broken"))),
    Message("tool", '"a cat"', tool_call_id="c1", images=(PNG,)),
    Message("tool", "no", tool_call_id="c2"),
    Message("user", "Sure?"),
)
ZOOM = ToolSpec("zoom", "Zooms.", {"type": "object", "properties": {"by": {"type": "number"}}})
OPEN = {"type": "object", "properties": {"city": {"type": "string"}}}
CLOSED = {**OPEN, "required": ["city"], "additionalProperties": False}


@pytest.fixture
async def server() -> AsyncIterator[HostedServer]:
    async with hosted_server() as server:
        yield server


async def sent(server: HostedServer, dialect: Dialect, request: ChatRequest, **options: Any) -> Any:
    """The body of a request."""
    server.will(Reply(dialect.answer("Oslo")))
    engine = dialect.engine(server.address, **options)
    try:
        await read_turn(engine.chat(request))
    finally:
        await engine.close()
    return server.asked[-1].body


async def test_chat_completions_get_the_whole_conversation(server: HostedServer) -> None:
    body = await sent(server, Chat(), ChatRequest(CONVERSATION, (ZOOM,)))
    call = {"type": "function", "function": {"name": "zoom", "arguments": '{"by": 2}'}}
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": DATA}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
            ],
        },
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "c1", **call},
                {"id": "c2", "type": "function", "function": {"name": "zoom", "arguments": "{broken"}},
            ],
        },
        {"role": "tool", "content": '"a cat"', "tool_call_id": "c1"},
        {"role": "tool", "content": "no", "tool_call_id": "c2"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Images of the result of c1:"},
                {"type": "image_url", "image_url": {"url": DATA}},
            ],
        },
        {"role": "user", "content": "Sure?"},
    ]
    assert body["tools"] == [
        {"type": "function", "function": {"name": "zoom", "description": "Zooms.", "parameters": dict(ZOOM.parameters)}}
    ]
    assert body["stream_options"] == {"include_usage": True}
    assert server.asked[-1].path == "/v1/chat/completions"


async def test_chat_completions_get_only_the_settings_that_are_given(server: HostedServer) -> None:
    ask = (Message("user", "hello"),)
    body = await sent(server, Chat(), ChatRequest(ask))
    assert set(body) == {"model", "messages", "stream", "stream_options"}
    sampling = Sampling(temperature=0.0, top_p=0.5, top_k=3, max_tokens=9, seed=1, stop=("END",))
    body = await sent(server, Chat(), ChatRequest(ask, sampling=sampling), extra={"reasoning_effort": "low"})
    given = {"temperature": 0.0, "top_p": 0.5, "top_k": 3, "max_tokens": 9, "seed": 1, "stop": ["END"]}
    assert {**body, **given, "reasoning_effort": "low"} == body


async def test_the_limit_of_tokens_has_the_name_that_the_server_knows() -> None:
    engine = Chat().engine(BASE_URL.removesuffix("/v1"))
    request = ChatRequest((Message("user", "hello"),), sampling=Sampling(max_tokens=9))
    body, _ = engine._body(request, None, None)  # type: ignore[attr-defined]
    assert body["max_completion_tokens"] == 9
    await engine.close()


@pytest.mark.parametrize(("schema", "strict"), [(OPEN, False), (CLOSED, True)])
async def test_a_schema_is_strict_where_it_can_be(server: HostedServer, schema: dict[str, Any], strict: bool) -> None:
    request = ChatRequest((Message("user", "hello"),), schema=schema)
    for dialect in (Chat(), OpenAiResponses()):
        server.will(Reply(dialect.answer('{"city": "Oslo"}')))
        engine: HostedEngine = dialect.engine(server.address)
        await read_turn(engine.chat(request))
        await engine.close()
        body = server.asked[-1].body
        form = body["response_format"]["json_schema"] if "response_format" in body else body["text"]["format"]
        assert {**form, "name": "answer", "schema": schema, "strict": strict} == form


async def test_responses_get_the_whole_conversation_and_store_nothing(server: HostedServer) -> None:
    body = await sent(server, OpenAiResponses(), ChatRequest(CONVERSATION, (ZOOM,), sampling=Sampling(max_tokens=9)))
    assert body["store"] is False
    assert body["max_output_tokens"] == 9
    assert body["input"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is it?"},
                {"type": "input_image", "image_url": DATA},
                {"type": "input_image", "image_url": "https://example.com/a.jpg"},
            ],
        },
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "c1", "name": "zoom", "arguments": '{"by": 2}'},
        {"type": "function_call", "call_id": "c2", "name": "zoom", "arguments": "{broken"},
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [{"type": "input_text", "text": '"a cat"'}, {"type": "input_image", "image_url": DATA}],
        },
        {"type": "function_call_output", "call_id": "c2", "output": "no"},
        {"role": "user", "content": "Sure?"},
    ]
    assert server.asked[-1].path == "/v1/responses"


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "image",
    [Image("image/png", uri="file:///etc/passwd"), Image("application/pdf", b"%PDF"), Image("image/png")],
    ids=["a file", "no image", "no bytes"],
)
async def test_an_image_that_models_cannot_read_is_refused(
    server: HostedServer, dialect: Dialect, image: Image
) -> None:
    with pytest.raises(GenerationRefused, match="image"):
        await sent(server, dialect, ChatRequest((Message("user", "look", images=(image,)),)))
    assert not server.asked


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_broken_arguments_of_the_model_reach_the_invoker_as_they_are(
    server: HostedServer, dialect: Dialect
) -> None:
    if dialect.name == "gemini":  # its arguments are an object by the API
        return
    server.will(Reply([*dialect.begin(), *dialect.calls([("c1", "zoom", '{"by": ')]), *dialect.end("tool_calls")]))
    engine = dialect.engine(server.address)
    turn = await read_turn(engine.chat(ChatRequest((Message("user", "look"),), (ZOOM,))))
    assert turn.calls == (ToolCall("c1", "zoom", '{"by": '),)
    await engine.close()


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_every_conversation_can_be_sent(server: HostedServer, dialect: Dialect) -> None:
    body = await sent(server, dialect, ChatRequest(CONVERSATION, (ZOOM,)))
    text = json.dumps(body, ensure_ascii=False)
    for part in ("Be brief.", "What is it?", "https://example.com/a.jpg", "iVBORw==", "I look.", "a cat", "Sure?"):
        assert part in text
