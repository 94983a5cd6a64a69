"""The node types of models behind HTTP: their configs, their keys, and runs with them."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Image, LanemeshError, Mesh, Question, Usage
from lanemesh.server.file_roots import FileRoots, schema_of
from lanemesh_services.llm.hosted_nodes import HostedModel, LlmAnthropic, LlmGemini, LlmOpenai
from lanemesh_services.shared.errors import EngineMissing
from pydantic import ValidationError

from rigs.hosted_dialects import DIALECTS, Chat, Dialect, Messages
from rigs.hosted_server import HostedServer, Reply, failing, hosted_server

from .test_nodes import answer, node

KEY = "sk-a-secret-of-20-characters"
TYPES: dict[str, tuple[type[HostedModel], dict[str, Any]]] = {
    "chat": (LlmOpenai, {}),
    "responses": (LlmOpenai, {"api": "responses"}),
    "anthropic": (LlmAnthropic, {}),
    "gemini": (LlmGemini, {}),
}
TOOLS = Path(__file__).parents[2] / "rigs" / "agent_tools.py"
EXAMPLE = Path(__file__).parents[3] / "examples" / "hosted.pipe"


@pytest.fixture
async def server() -> AsyncIterator[HostedServer]:
    async with hosted_server() as server:
        yield server


def pipeline(config: dict[str, Any], provider: str = "llm_openai") -> dict[str, Any]:
    """A question to a model."""
    return {
        "components": [
            {"id": "chat_1", "provider": "chat"},
            {
                "id": "llm_1",
                "provider": provider,
                "config": config,
                "input": [{"lane": "questions", "from": "chat_1"}],
            },
            {
                "id": "out",
                "provider": "response",
                "config": {"lane": "answers"},
                "input": [{"lane": "answers", "from": "llm_1"}],
            },
        ]
    }


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_a_question_with_an_image_is_answered(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply(dialect.answer("a ", "cat", prompt=10, completion=2)))
    kind, config = TYPES[dialect.name]
    config = {**config, "model": "m-1", "base_url": server.address + dialect.path, "price": {"input": 1, "output": 5}}
    async with node(kind, **config, api_key=KEY, temperature=0) as made:
        given = await answer(made, Question("What is it?", images=(Image("image/png", b"\x89PNG"),)))
    assert given["text"] == ["a ", "cat"]
    assert given["answers"][-1].usage == Usage(10, 2, 20 / 1e6)
    sent = json.dumps(server.asked[0].body)
    assert "iVBORw==" in sent
    assert '"temperature": 0' in sent


@pytest.mark.parametrize(("kind", "config"), TYPES.values(), ids=TYPES)
async def test_without_a_key_the_error_says_what_to_do(kind: type[HostedModel], config: dict[str, Any]) -> None:
    with pytest.raises(LanemeshError) as caught:
        async with node(kind, **config, model="m-1"):
            pass
    assert caught.value.fault.reason == "model-key-missing"
    assert f'"api_key": "${{{kind.variable}}}"' in caught.value.fault.message


@pytest.mark.parametrize(
    ("kind", "module"), [(LlmOpenai, "openai"), (LlmAnthropic, "anthropic"), (LlmGemini, "google.genai")]
)
async def test_without_its_library_the_error_names_the_extra(
    kind: type[HostedModel], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    if module == "google.genai":
        import google

        monkeypatch.delattr(google, "genai", raising=False)
    with pytest.raises(EngineMissing, match=r"lanemesh\[models\]"):
        async with node(kind, model="m-1", api_key=KEY):
            pass


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "ftp://example.com"},
        {"base_url": "example.com/v1"},
        {"base_url": "https://user:password@example.com/v1"},
        {"base_url": "https://example.com/v1?key=1"},
        {"base_url": "https://exa mple.com"},
        {"base_url": "http://[::1"},
        {"api_key": "two words-of-a-secret"},
        {"api_key": "sk-line\nbreak-of-a-secret"},
        {"api_key": "sk-schlüssel-of-a-secret"},
        {"temperature": 3},
        {"stop": [""]},
        {"price": {"input": -1, "output": 1}},
        {"retries": 11},
        {"model": ""},
    ],
)
@pytest.mark.parametrize("kind", [LlmOpenai, LlmAnthropic, LlmGemini])
def test_a_wrong_config_is_refused_without_its_values(kind: type[HostedModel], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.Config.model_validate({"model": "m-1", **wrong})
    assert "password" not in str(caught.value)
    assert "of-a-secret" not in str(caught.value)


@pytest.mark.parametrize("kind", [LlmOpenai, LlmAnthropic, LlmGemini])
def test_a_node_server_connects_only_to_the_maker_and_to_permitted_hosts(kind: type[HostedModel]) -> None:
    def refused(url: str, *hosts: str) -> str:
        try:
            FileRoots.of([], hosts=hosts).check({"model": "m", "base_url": url}, schema_of(kind.Config), "llm_1")
        except LanemeshError as error:
            return error.fault.reason
        return ""

    assert refused(kind.own_url) == ""
    assert refused("http://169.254.169.254/latest") == "host-not-allowed"
    assert refused(kind.own_url + ".elsewhere.example") == "host-not-allowed"
    assert refused("http://models.internal:8000/v1", "models.internal:8000") == ""


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("spread", [None, "service"])
async def test_a_model_that_rejects_tools_gets_them_by_json(server: HostedServer, spread: Any, routed: bool) -> None:
    rejecting = failing(400, {"error": {"message": "gemma:latest does not support tools"}})
    answering = Reply(Chat().answer(json.dumps({"thought": "", "calls": [], "answer": "Oslo"})))
    models = ["model_1", "model_2"] if routed else ["model_1"]
    server.will(*[rejecting] * len(models), answering)
    config = {"model": "m-1", "base_url": f"{server.address}/v1"}

    def helper(id_: str, provider: str, kind: str, of: str, **config: Any) -> dict[str, Any]:
        return {"id": id_, "provider": provider, "config": config, "control": [{"classType": kind, "from": of}]}

    agent = {"id": "agent_1", "provider": "agent_wave", "input": [{"lane": "questions", "from": "chat_1"}]}
    components = [
        {"id": "chat_1", "provider": "chat"},
        agent,
        helper("tools_1", "tool_python", "tool", "agent_1", file=str(TOOLS)),
        *[helper(name, "llm_openai", "llm", "router_1" if routed else "agent_1", **config) for name in models],
        {"id": "out", "provider": "response", "input": [{"lane": "answers", "from": "agent_1"}]},
    ]
    if routed:
        components.append(helper("router_1", "llm_router", "llm", "agent_1"))
    async with Mesh(spread) as mesh:
        result = await mesh.run({"components": components}, input="Which city?").result()
    assert result.error is None
    assert "".join(piece.text for piece in result.values) == "Oslo"
    assert ["tools" in asked.body for asked in server.asked] == [*[True] * len(models), False]


@pytest.mark.parametrize("spread", [None, "service"])
async def test_a_key_appears_in_no_error_of_a_run(
    server: HostedServer, spread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_KEY", KEY)
    server.will(failing(400, {"error": {"message": f"the key {KEY} is odd"}}))
    config = {"model": "m-1", "base_url": f"{server.address}/v1", "api_key": "${MODEL_KEY}"}
    async with Mesh(spread) as mesh:
        run = mesh.run(pipeline(config), input="hello")
        updates = [str(update) async for update in run.updates()]
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert any("is odd" in update for update in updates)
    assert not any(KEY in update for update in updates)


async def test_the_price_reaches_the_client(server: HostedServer) -> None:
    server.will(Reply(Chat().answer("Oslo", prompt=1000, completion=500)))
    config = {"model": "m-1", "base_url": f"{server.address}/v1", "price": {"input": 2, "output": 8}}
    async with Mesh() as mesh:
        result = await mesh.run(pipeline(config), input="hello").result()
    assert result.values[-1].usage == Usage(1000, 500, 0.006)


async def test_the_example_falls_over_to_its_second_model(
    server: HostedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY + "-2")
    server.will(failing(503, {"error": {"message": "busy"}}), Reply(Messages().answer("Oslo")))
    settings = {
        "openai_1.base_url": f"{server.address}/v1",
        "openai_1.retries": 0,
        "anthropic_1.base_url": server.address,
    }
    async with Mesh() as mesh:
        assert await mesh.validate(EXAMPLE) == []
        result = await mesh.run(EXAMPLE, input="hello", settings=settings).result()
    assert result.state == "completed"
    assert "".join(piece.text for piece in result.values) == "Oslo"
    assert [asked.path for asked in server.asked] == ["/v1/chat/completions", "/v1/messages"]
