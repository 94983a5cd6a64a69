"""The SDKs of OpenAI and Anthropic, and the client of AG-UI, for JavaScript against a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lanemesh.client.updates import RunState

from rigs.agui_pipelines import PIPELINES
from rigs.agui_rules import check_stream
from rigs.anthropic_rules import check_message_stream
from rigs.model_gateway import ModelGateway, answering, model_gateway
from rigs.npm_packages import npm
from rigs.npm_sdks import run_script
from rigs.openai_rules import check_chat_stream

pytestmark = [
    pytest.mark.skipif(npm() is None, reason="the SDKs are npm packages, and there is no npm here"),
    pytest.mark.timeout(500),
]
CALLS = [{"name": "look", "arguments": {"at": "a"}}, {"name": "look", "arguments": {"at": "b"}}]
WORDS = {"whole": "one two three", "streamed": ["one", " two", " three"], "answer": "It is blue."}


@pytest.fixture
async def gateway() -> AsyncIterator[ModelGateway]:
    async with model_gateway() as made:
        await made.deploy("chat", "one two three")
        await made.deploy("tools", {"text": "Well.", "tool_calls": CALLS}, "It is blue.")
        await made.mesh.deploy("endless", answering("endless_answer"))
        yield made


async def cancelled(gateway: ModelGateway) -> bool:
    """Whether the run of the endless pipeline was cancelled; waits for its end."""
    (record,) = await gateway.mesh.runs(deployment="endless")
    async with asyncio.timeout(30):
        result = await gateway.mesh.attach(record.run_id).result()
    return result.state is RunState.CANCELLED


async def test_the_sdk_of_openai(gateway: ModelGateway) -> None:
    found = await run_script("openai_sdk.mjs", gateway.url)

    wanted: dict[str, Any] = {**WORDS, "usage": 4, "finish_reason": "tool_calls", "response": "one two three"}
    assert {name: found[name] for name in wanted} == wanted
    assert found["models"] == ["chat", "endless", "tools"]
    assert found["events"][0] == "response.output_item.added"
    assert found["events"][-1] == "response.completed"
    assert found["error"] == [404, "model_not_found", "model"]
    assert await cancelled(gateway)
    for stream in gateway.streams:
        if stream.path == "/v1/chat/completions":
            check_chat_stream(bytes(stream.body), whole=stream.is_whole)


async def test_the_sdk_of_anthropic(gateway: ModelGateway) -> None:
    found = await run_script("anthropic_sdk.mjs", gateway.url)

    wanted: dict[str, Any] = {**WORDS, "usage": 3, "stop_reason": "tool_use", "error": [404, "not_found_error"]}
    assert {name: found[name] for name in wanted} == wanted
    assert await cancelled(gateway)
    for stream in gateway.streams:
        check_message_stream(bytes(stream.body), whole=stream.is_whole)


async def test_the_client_of_ag_ui(gateway: ModelGateway) -> None:
    for name in ("words", "adds", "asks", "broken"):
        await gateway.mesh.deploy(name, PIPELINES[name])

    found = await run_script("agui_client.mjs", gateway.url)

    wanted: dict[str, Any] = {
        "first": "one two three",
        "second": "one two three",
        "sum": "It is 3.",
        "after": "It is 3.",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert found["calls"][0] == ["add", {"a": 1, "b": 2}]
    assert found["results"][0] == "3"
    assert found["state"] == "completed"
    assert found["interrupt"] == ["tool_call", "add"]
    assert (found["approved"], found["approvedResults"], found["open"]) == ("Done.", ["3"], 0)
    assert "the model broke" in found["failure"]
    for stream in gateway.streams:
        check_stream(stream.body.decode(), whole=stream.is_whole)
