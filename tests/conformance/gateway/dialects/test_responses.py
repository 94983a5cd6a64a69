"""`/v1/responses`, by the official SDK of OpenAI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from lanemesh.client.updates import RunState

from repeats import times
from rigs.model_gateway import ModelGateway, answering
from rigs.openai_rules import check_error, check_response
from rigs.sdk_clients import openai_client
from rigs.sse import events_of

if TYPE_CHECKING:
    import openai

LOOK: Any = {"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}}
CUTS = times(100, 25)
BEGINNING = b": lanemesh\n\n"
"""The comment with which every stream begins."""


@pytest.fixture
async def client(gateway: ModelGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai_client(f"{gateway.url}/v1") as made:
        yield made


async def test_a_response_has_the_answer_and_can_be_retrieved(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    await gateway.deploy("chat", "one two three")

    response = await client.responses.create(model="chat", input="Hello")

    assert response.output_text == "one two three"
    assert response.status == "completed"
    assert response.usage is not None
    assert response.usage.output_tokens == 3
    assert await client.responses.retrieve(response.id) == response
    check_response(json.loads((await client.responses.with_raw_response.retrieve(response.id)).text))


async def test_a_stream_is_assembled_by_the_sdk(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    calls = [{"name": "look", "arguments": {"at": "a"}}, {"name": "look", "arguments": {"at": "b"}}]
    await gateway.deploy("chat", {"text": "Well then.", "tool_calls": calls})

    async with client.responses.stream(model="chat", input="Hello", tools=[LOOK]) as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()

    assert deltas == ["Well", " then."]
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]
    assert final.output_text == "Well then."


async def test_a_response_with_calls_goes_on_with_their_results(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    calls = [{"name": "look", "arguments": {"at": "a"}}, {"name": "look", "arguments": {"at": "b"}}]
    await gateway.deploy("chat", {"text": "Well.", "tool_calls": calls}, "It is blue.")
    given: list[Any] = [{"role": "user", "content": "Hello"}]

    first = await client.responses.create(model="chat", input=given, tools=[LOOK])
    given += [item.model_dump(exclude_none=True) for item in first.output]
    given += [
        {"type": "function_call_output", "call_id": item.call_id, "output": "blue"}
        for item in first.output
        if item.type == "function_call"
    ]
    second = await client.responses.create(model="chat", input=given, tools=[LOOK])

    assert second.output_text == "It is blue."


async def test_the_question_has_the_whole_input(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    await gateway.mesh.deploy("noted", answering("noted_question"))
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    given: list[Any] = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "Look!"},
        {"type": "reasoning", "id": "r1", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I do."}]},
        call,
        {"type": "function_call_output", "call_id": "c1", "output": "seen"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "And this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw=="},
            ],
        },
    ]

    response = await client.responses.create(
        model="noted",
        input=given,
        instructions="Be brief.",
        temperature=1.5,
        max_output_tokens=9,
        text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "array"}}},
        tools=[LOOK],
    )

    got = json.loads(response.output_text)
    assert got["settings"] == {"temperature": 1.5, "max_tokens": 9}
    question = got["question"]
    assert (question["text"], question["instructions"]) == ("And this?", "Be brief.")
    assert [turn["role"] for turn in question["history"]] == ["system", "user", "assistant", "tool"]
    assert question["history"][2]["content"] == "I do."
    assert question["history"][2]["tool_calls"] == [{"id": "c1", "name": "look", "arguments": "{}"}]
    assert question["images"][0]["mime_type"] == "image/png"
    assert question["schema"] == {"type": "array"}
    assert question["tools"][0]["name"] == "look"


async def test_an_answer_that_is_cut_off_is_incomplete(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    await gateway.deploy("chat", "one two three")

    response = await client.responses.create(model="chat", input="Hello", max_output_tokens=2)

    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output_text == "one two"


async def test_a_run_that_fails_after_the_first_token_is_a_failed_response(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    await gateway.deploy("chat", {"text": "one two", "fail": "out of order"})

    response = await client.responses.create(model="chat", input="Hello")
    events = [event async for event in await client.responses.create(model="chat", input="Hello", stream=True)]

    assert response.status == "failed"
    assert response.error is not None
    assert "out of order" in response.error.message
    assert response.output_text == "one two"
    assert events[-1].type == "response.failed"


async def read_a_little(client: httpx.AsyncClient, url: str) -> bytes:
    """Reads a stream to the middle of its second event, or to its end, and cuts the connection."""
    body = b""
    async with client.stream("GET", url) as response:
        async for piece in response.aiter_raw(64):
            body += piece
            if b"\n\n" in body.removeprefix(BEGINNING) and not body.endswith(b"\n\n"):
                break
    return body


@pytest.mark.many
async def test_a_background_response_is_resumed_byte_by_byte_after_many_cuts(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    words = " ".join(f"wörd{number}" for number in range(CUTS))
    await gateway.deploy("chat", words)
    response = await client.responses.create(model="chat", input="Hello", background=True)
    received, cuts, last = b"", 0, -1

    async with httpx.AsyncClient(base_url=f"{gateway.url}/v1/responses/", timeout=60) as raw:
        while True:
            url = f"{response.id}?stream=true" + (f"&starting_after={last}" if last >= 0 else "")
            body = await read_a_little(raw, url)
            whole = body[: body.rindex(b"\n\n") + 2].removeprefix(BEGINNING)
            received += whole
            last = events_of(whole)[0][-1].value["sequence_number"]
            if events_of(whole)[0][-1].name == "response.completed":
                break
            cuts += 1
        uninterrupted = (await raw.get(f"{response.id}?stream=true")).content.removeprefix(BEGINNING)
        after_the_end = (await raw.get(f"{response.id}?stream=true&starting_after={last}")).content

    assert cuts >= CUTS
    assert received == uninterrupted
    assert after_the_end == BEGINNING
    assert response.status == "queued"
    final = await client.responses.retrieve(response.id)
    assert final.output_text == words
    assert final.created_at == response.created_at
    resumed = await client.responses.retrieve(response.id, stream=True, starting_after=last - 1)
    assert [event.type async for event in resumed] == ["response.completed"]


async def test_a_background_response_is_cancelled_by_a_call_and_not_by_a_disconnect(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    await gateway.mesh.deploy("endless", answering("endless_answer"))

    stream = await client.responses.create(model="endless", input="Hello", background=True, stream=True)
    created = await anext(aiter(stream))
    assert created.type == "response.created"
    await stream.close()
    response_id = created.response.id
    assert (await client.responses.retrieve(response_id)).status == "in_progress"
    cancelled = await client.responses.cancel(response_id)
    again = await client.responses.cancel(response_id)

    assert cancelled.status == again.status == "cancelled"
    events = [event async for event in await client.responses.retrieve(response_id, stream=True)]
    assert events[-1].type == "response.failed"


async def test_a_client_that_disconnects_cancels_a_response_in_the_foreground(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    import openai

    await gateway.mesh.deploy("endless", answering("endless_answer"))

    async with gateway.mesh.channels().subscribe("mesh:asked") as questions:
        asking = asyncio.create_task(client.responses.create(model="endless", input="Hello"))
        await anext(questions)
        asking.cancel()
        await asyncio.wait([asking])

    (record,) = await gateway.mesh.runs()
    async with asyncio.timeout(20):
        result = await gateway.mesh.attach(record.run_id).result()
    assert result.state is RunState.CANCELLED
    with pytest.raises(openai.BadRequestError, match="only background responses"):
        await client.responses.cancel(f"resp_{record.run_id}")


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"conversation": "c"}, "conversation"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"extra_body": {"magic": 1}}, "magic"),
    ],
)
async def test_wrong_requests_are_refused_at_their_place(
    gateway: ModelGateway, client: openai.AsyncOpenAI, request_: dict[str, Any], param: str
) -> None:
    import openai

    await gateway.deploy("chat", "hi")

    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(**{"model": "chat", "input": "Hello", **request_})

    assert caught.value.param == param
    assert isinstance(caught.value.body, dict)
    check_error({"error": caught.value.body})


async def test_responses_that_there_are_not(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    import openai

    for response_id in ("resp_run-000000000000", "run-000000000000", "x" * 300):
        with pytest.raises(openai.NotFoundError, match="there is no response"):
            await client.responses.retrieve(response_id)
        with pytest.raises(openai.NotFoundError, match="there is no response"):
            await client.responses.cancel(response_id)


async def test_a_response_continues_a_previous_one(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    import openai

    await gateway.mesh.deploy("noted", answering("noted_question"))
    await gateway.deploy("other", "hi")

    async def ask(text: str, previous: str | None = None) -> tuple[str, list[str]]:
        response = await client.responses.create(
            model="noted", input=text, previous_response_id=previous or openai.omit
        )
        history = json.loads(response.output_text)["question"].get("history", [])
        return response.id, [turn["content"] for turn in history if turn["role"] == "user"]

    one, no_turns = await ask("one")
    two, of_two = await ask("two", one)
    _, of_three = await ask("three", two)
    _, of_branch = await ask("branch", one)

    assert (no_turns, of_two, of_three, of_branch) == ([], ["one"], ["one", "two"], ["one"])
    for request_, message in (
        ({"model": "other", "previous_response_id": one}, 'of the model "noted"'),
        ({"model": "noted", "previous_response_id": "resp_run-0"}, "no stored response"),
        ({"model": "noted", "previous_response_id": one, "store": False}, '"store"'),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            await client.responses.create(input="x", **request_)
    unstored = await client.responses.create(model="noted", input="x", store=False)
    with pytest.raises(openai.BadRequestError, match="no stored response"):
        await ask("y", unstored.id)


async def test_the_results_of_tools_continue_the_response_with_the_calls(
    gateway: ModelGateway, client: openai.AsyncOpenAI
) -> None:
    import openai

    call = {"text": "", "tool_calls": [{"name": "look", "arguments": {"at": "a"}}]}
    await gateway.deploy("chat", call, call, "It is blue.")
    request: dict[str, Any] = {"model": "chat", "tools": [LOOK]}

    first = await client.responses.create(input="Hello", **request)
    second = await client.responses.create(input=results_of(first), previous_response_id=first.id, **request)
    third = await client.responses.create(input=results_of(second), previous_response_id=second.id, **request)

    assert third.output_text == "It is blue."
    unknown: list[Any] = [{"type": "function_call_output", "call_id": "c9", "output": "x"}]
    for wrong in ("Hello", unknown):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(input=wrong, previous_response_id=first.id, **request)
        assert caught.value.code == "unknown_tool_call"


def results_of(response: Any) -> list[Any]:
    """The results of the calls of a response."""
    calls = [item for item in response.output if item.type == "function_call"]
    return [{"type": "function_call_output", "call_id": call.call_id, "output": "blue"} for call in calls]


async def test_only_a_completed_response_is_continued(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    import openai

    await gateway.mesh.deploy("endless", answering("endless_answer"))
    async with gateway.mesh.channels().subscribe("mesh:asked") as questions:
        response = await client.responses.create(model="endless", input="Hello", background=True)
        await anext(questions)

    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="endless", input="x", previous_response_id=response.id)
    assert caught.value.code == "response_not_completed"
    await client.responses.cancel(response.id)
