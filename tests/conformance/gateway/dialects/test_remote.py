"""Two gateways to one orchestrator elsewhere: a client goes on at either."""

from __future__ import annotations

from typing import Any

from lanemesh.client.updates import RunState

from rigs.model_gateway import answering, remote_gateways
from rigs.openai_rules import check_chat_stream, check_response_stream
from rigs.sdk_clients import openai_client

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


async def test_a_response_goes_on_at_another_gateway() -> None:

    async with (
        remote_gateways() as (one, other),
        openai_client(f"{one.url}/v1") as first,
        openai_client(f"{other.url}/v1") as second,
    ):
        await one.deploy("chat", "one two three", "four")
        chunks = [
            chunk async for chunk in await first.chat.completions.create(model="chat", messages=HELLO, stream=True)
        ]
        response = await first.responses.create(model="chat", input="Hello", background=True)
        events = [event async for event in await first.responses.retrieve(response.id, stream=True)]
        again = [event async for event in await second.responses.retrieve(response.id, stream=True)]
        rest = [event async for event in await second.responses.retrieve(response.id, stream=True, starting_after=4)]
        following = await second.responses.create(model="chat", input="And?", previous_response_id=response.id)

    assert chunks[-1].choices[0].finish_reason == "stop"
    assert again == events
    assert rest == events[5:]
    assert following.output_text == "four"
    check_chat_stream(bytes(one.streams[0].body))
    check_response_stream(bytes(one.streams[1].body))
    assert other.streams[0].body == one.streams[1].body


async def test_a_client_that_disconnects_cancels_the_run_elsewhere() -> None:

    async with (
        remote_gateways() as (one, other),
        openai_client(f"{one.url}/v1") as client,
    ):
        await one.mesh.deploy("endless", answering("endless_answer"))
        stream = await client.chat.completions.create(model="endless", messages=HELLO, stream=True)
        await anext(aiter(stream))
        await stream.close()

        (record,) = await other.mesh.runs()
        assert (await other.mesh.attach(record.run_id).result()).state is RunState.CANCELLED
