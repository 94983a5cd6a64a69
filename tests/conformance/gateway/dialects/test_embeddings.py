"""`/v1/embeddings`, by the official SDK of OpenAI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from rigs.model_gateway import ModelGateway
from rigs.sdk_clients import openai_client

if TYPE_CHECKING:
    import openai


@pytest.fixture
async def client(gateway: ModelGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai_client(f"{gateway.url}/v1") as made:
        yield made


def embedding(provider: str, takes: str, gives: str) -> dict[str, Any]:
    """A pipeline with a node that makes embeddings."""
    return {
        "components": [
            {"id": "chat_1", "provider": "chat"},
            {"id": "embed_1", "provider": provider, "input": [{"lane": takes, "from": "chat_1"}]},
            {"id": "out_1", "provider": "response", "input": [{"lane": gives, "from": "embed_1"}]},
        ]
    }


@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_each_text_has_its_embedding(gateway: ModelGateway, client: openai.AsyncOpenAI, encoding: Any) -> None:
    await gateway.mesh.deploy("embed", embedding("embedder", "text", "documents"))
    options = {} if encoding is None else {"encoding_format": encoding}

    several = await client.embeddings.create(model="embed", input=["one", "one two"], **options)
    single = await client.embeddings.create(model="embed", input="one two three")

    if encoding != "base64":
        assert [one.embedding for one in several.data] == [[3.0, 1.0], [7.0, 2.0]]
    assert [one.index for one in several.data] == [0, 1]
    assert [one.embedding for one in single.data] == [[13.0, 3.0]]


async def test_data_that_is_numbers_is_an_embedding(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    await gateway.mesh.deploy("embed", embedding("number_lister", "questions", "data"))

    found = await client.embeddings.create(model="embed", input=["one", "three"])

    assert [one.embedding for one in found.data] == [[3.0, 0.5], [5.0, 0.5]]


async def test_what_makes_no_embeddings_is_refused(gateway: ModelGateway, client: openai.AsyncOpenAI) -> None:
    import openai

    await gateway.deploy("chat", "hi")
    await gateway.mesh.deploy("plain", embedding("plain_document", "text", "documents"))

    with pytest.raises(openai.BadRequestError, match="makes no embeddings") as caught:
        await client.embeddings.create(model="chat", input="x")
    assert caught.value.param == "model"
    with pytest.raises(openai.InternalServerError, match="delivered 0 embeddings for 2 inputs"):
        await client.embeddings.create(model="plain", input=["x", "y"])
    with pytest.raises(openai.NotFoundError):
        await client.embeddings.create(model="none", input="x")
    requests: list[dict[str, Any]] = [
        {"input": []},
        {"input": ""},
        {"input": [[1, 2]]},
        {"input": "x", "dimensions": 3},
    ]
    for wrong in requests:
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model="plain", **wrong)
