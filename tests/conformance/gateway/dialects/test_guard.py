"""Requests that the gateway refuses before they reach an endpoint: errors in the form of the API."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from lanemesh_orchestrator.gateway.options import GatewayOptions

from rigs import anthropic_rules, openai_rules
from rigs.model_gateway import model_gateway
from rigs.sdk_clients import anthropic_client, openai_client

HELLO = [{"role": "user", "content": "Hello"}]


async def test_the_token_is_that_of_the_sdks_and_its_lack_an_error_in_their_form() -> None:
    import anthropic
    import openai

    async with model_gateway(GatewayOptions(token="secret")) as gateway:
        await gateway.deploy("chat", "hi")
        for key in ("secret", "wrong"):
            async with (
                openai_client(f"{gateway.url}/v1", key) as one,
                anthropic_client(gateway.url, key) as other,
            ):
                if key == "secret":
                    assert [model.id async for model in one.models.list()] == ["chat"]
                    await other.messages.create(model="chat", max_tokens=9, messages=HELLO)  # type: ignore[arg-type]
                    continue
                with pytest.raises(openai.AuthenticationError) as of_openai:
                    await one.chat.completions.create(model="chat", messages=HELLO)  # type: ignore[arg-type]
                with pytest.raises(anthropic.AuthenticationError) as of_anthropic:
                    await other.messages.create(model="chat", max_tokens=9, messages=HELLO)  # type: ignore[arg-type]
    openai_rules.check_error(of_openai.value.response.json())
    anthropic_rules.check_error(of_anthropic.value.response.json())


async def test_too_many_requests_are_an_error_in_the_form_of_the_api() -> None:
    import openai

    async with (
        model_gateway(GatewayOptions(rate=0.2)) as gateway,
        openai_client(f"{gateway.url}/v1") as client,
    ):
        await client.models.list()
        with pytest.raises(openai.RateLimitError) as caught:
            await client.models.list()

    openai_rules.check_error(caught.value.response.json())
    assert int(caught.value.response.headers["retry-after"]) >= 1


async def test_a_body_that_is_too_large_is_an_error_in_the_form_of_the_api() -> None:
    async with model_gateway(GatewayOptions(max_body=1_000)) as gateway, httpx.AsyncClient(base_url=gateway.url) as raw:
        for path, check in (
            ("/v1/chat/completions", openai_rules.check_error),
            ("/v1/responses", openai_rules.check_error),
            ("/v1/embeddings", openai_rules.check_error),
            ("/v1/messages", anthropic_rules.check_error),
        ):
            response = await raw.post(path, content=b" " * 1_001)
            assert response.status_code == 413
            check(response.json())


async def test_a_wrong_base_url_is_answered_with_the_right_one_in_the_form_of_the_api() -> None:
    import anthropic
    import openai

    async with (
        model_gateway() as gateway,
        openai_client(gateway.url) as one,
        anthropic_client(f"{gateway.url}/v1") as other,
    ):
        with pytest.raises(openai.NotFoundError, match=f"base URL of the OpenAI API is {gateway.url}/v1") as of_openai:
            await one.chat.completions.create(model="chat", messages=HELLO)  # type: ignore[arg-type]
        with pytest.raises(openai.NotFoundError, match=f"is {gateway.url}/v1"):
            await one.models.list()
        with pytest.raises(anthropic.NotFoundError, match=f"Anthropic API is {gateway.url}, without") as of_anthropic:
            await other.messages.create(model="chat", max_tokens=9, messages=HELLO)  # type: ignore[arg-type]
    openai_rules.check_error(of_openai.value.response.json())
    anthropic_rules.check_error(of_anthropic.value.response.json())


async def test_unknown_models_make_the_mesh_list_its_pipelines_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    import openai

    async with (
        model_gateway() as gateway,
        openai_client(f"{gateway.url}/v1") as client,
    ):
        listed: list[float] = []
        deployments = gateway.mesh.deployments

        async def counted() -> object:
            listed.append(time.monotonic())
            return await deployments()

        monkeypatch.setattr(gateway.mesh, "deployments", counted)
        begun = time.monotonic()
        replies = await asyncio.gather(
            *(client.models.retrieve(f"none-{n}") for n in range(50)), return_exceptions=True
        )
        await gateway.deploy("chat", "hi")
        assert (await client.models.retrieve("chat")).id == "chat"

    assert {type(one) for one in replies} == {openai.NotFoundError}
    assert len(listed) <= 3 + (listed[-1] - begun)
