"""What `${NAME}` in a client's document may read: what the operator allows and what the client sends, never the environment."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Client, Deployed, LanemeshError, Mesh
from lanemesh.client.variables import variables_from_environment
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.store.options import StoreOptions

SECRET = "value-of-the-orchestrator"


def prompt(config: dict[str, Any]) -> dict[str, Any]:
    response = {"id": "r", "provider": "response", "config": {"lane": "questions"}}
    return {
        "components": [
            {"id": "c", "provider": "chat"},
            {"id": "p", "provider": "prompt", "config": config, "input": [{"lane": "questions", "from": "c"}]},
            {**response, "input": [{"lane": "questions", "from": "p"}]},
        ]
    }


def reading(name: str) -> dict[str, Any]:
    return prompt({"template": f"${{{name}}} {{question}}"})


REFUSED = {"variable-not-secret", "operator-variable"}


def scripted(turn: Any, nested: dict[str, Any] | None = None) -> dict[str, Any]:
    """An agent whose model returns a turn; `nested` is the pipeline behind its tool."""
    components: list[dict[str, Any]] = [
        {"id": "c", "provider": "chat"},
        {"id": "agent", "provider": "agent_wave", "input": [{"lane": "questions", "from": "c"}]},
        {
            "id": "m",
            "provider": "llm_scripted",
            "config": {"script": [turn]},
            "control": [{"classType": "llm", "from": "agent"}],
        },
        {"id": "r", "provider": "response_text", "input": [{"lane": "text", "from": "agent"}]},
    ]
    if nested is not None:
        config = {"name": "nested", "description": "A pipeline.", "document": nested}
        control = [{"classType": "tool", "from": "agent"}]
        components.append({"id": "t", "provider": "tool_pipeline", "config": config, "control": control})
    return {"components": components}


def stored_specs(path: Path) -> bytes:
    with contextlib.closing(sqlite3.connect(path)) as store:
        return b"".join(row[0] for row in store.execute("select spec from deployments"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEMESH_TEST_SECRET", SECRET)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    variables = {"ALLOWED": "allowed-by-the-operator", "KEY": SECRET}
    orchestrator = Orchestrator(embedded=True, variables=variables, plain_variables=["ALLOWED"])
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        yield client
    await orchestrator.close()


@pytest.mark.parametrize(
    "document",
    [
        reading("LANEMESH_TEST_SECRET"),
        prompt({"profile": "p", "p": {"template": "${LANEMESH_TEST_SECRET} {question}"}}),
        prompt({"instructions": ["${LANEMESH_TEST_SECRET}"]}),
    ],
    ids=["value", "profile", "list"],
)
async def test_a_document_of_a_client_does_not_read_the_environment(client: Client, document: dict[str, Any]) -> None:
    async def refused(call: Any) -> str:
        with pytest.raises(LanemeshError) as caught:
            await call
        return str(caught.value)

    (fault,) = await client.validate(document)
    assert fault.reason == "missing-variable"
    assert fault.pointer.startswith("/components/1/config")
    assert "lanemesh serve --variable LANEMESH_TEST_SECRET" in fault.hint
    assert "ALLOWED" in fault.hint
    for call in (
        client.run(document, input="x").text().all(),
        client.start(document, input="x"),
        client.deploy("d", document),
    ):
        message = await refused(call)
        assert "LANEMESH_TEST_SECRET" in message
        assert SECRET not in message


@pytest.mark.parametrize(
    "document",
    [
        reading("KEY"),
        prompt({"profile": "p", "p": {"template": "${ALLOWED} ${KEY} {question}"}}),
        scripted("${KEY}"),
        scripted({"text": "It is ${KEY}", "tool_calls": [{"name": "a", "arguments": {"b": "${KEY}"}}]}),
        {"components": scripted("x", nested=scripted("${KEY}"))["components"]},
    ],
    ids=["template", "profile", "script", "call", "nested document"],
)
async def test_a_document_of_a_client_does_not_show_a_secret_of_the_operator(
    client: Client, document: dict[str, Any]
) -> None:
    assert {fault.reason for fault in await client.validate(document)} <= REFUSED
    for call in (
        client.run(document, input="x").text().all(),
        client.start(document, input="x"),
        client.deploy("d", document),
    ):
        with pytest.raises(
            LanemeshError, match=r"The operator's variable KEY is secret|the operator's variable KEY"
        ) as caught:
            await call
        assert SECRET not in str(caught.value)
    assert await client.validate(document, variables={"KEY": "key-of-the-client"}) == []


async def test_settings_are_taken_as_they_are(client: Client) -> None:
    settings = {"p.template": "${LANEMESH_TEST_SECRET} {question}"}
    (question,) = await client.run(prompt({}), input="x", settings=settings).values()
    assert question.text == "${LANEMESH_TEST_SECRET} x"


async def test_what_the_operator_allows_and_what_the_client_sends_is_there(client: Client) -> None:
    (question,) = await client.run(reading("ALLOWED"), input="x").values()
    assert question.text == "allowed-by-the-operator x"
    sent = {"ALLOWED": "sent-by-the-client"}
    (question,) = await client.run(reading("ALLOWED"), input="x", variables=sent).values()
    assert question.text == "sent-by-the-client x"
    with pytest.raises(LanemeshError, match="is not a valid name of a variable"):
        await client.run(reading("ALLOWED"), input="x", variables={"no name": "x"}).text()
    with pytest.raises(LanemeshError, match="MAX_VARIABLES"):
        await client.run(reading("ALLOWED"), input="x", variables={f"V{n}": "" for n in range(257)}).text()


async def test_variables_of_a_deployed_pipeline_are_in_no_store(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    store = StoreOptions(location=str(path))
    orchestrator = Orchestrator(embedded=True, store=store)
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        await client.deploy("d", reading("TOKEN"), variables={"TOKEN": "token-of-the-client"})
        (question,) = await client.run(Deployed("d"), input="x").values()
        assert question.text == "token-of-the-client x"
    await orchestrator.close()
    stored = stored_specs(path)
    assert b"${TOKEN}" in stored
    assert b"token-of-the-client" not in stored

    orchestrator = Orchestrator(embedded=True, store=store)
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        with pytest.raises(LanemeshError, match="TOKEN is not available"):
            await client.run(Deployed("d"), input="x").text()
        again = client.run(Deployed("d"), input="x", variables={"TOKEN": "sent-with-the-run"})
        assert [question.text for question in await again.values()] == ["sent-with-the-run x"]
    await orchestrator.close()


async def test_a_run_of_ones_own_reads_its_environment() -> None:
    async with Mesh() as mesh:
        (question,) = await mesh.run(reading("LANEMESH_TEST_SECRET"), input="x").values()
        assert question.text == f"{SECRET} x"
        mine = {"LANEMESH_TEST_SECRET": "given"}
        (question,) = await mesh.run(reading("LANEMESH_TEST_SECRET"), input="x", variables=mine).values()
        assert question.text == "given x"


def test_a_command_sends_the_variables_that_a_document_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAMED", "n")
    monkeypatch.delenv("ABSENT", raising=False)
    assert variables_from_environment('"${NAMED} ${ABSENT} $${LANEMESH_TEST_SECRET}"') == {"NAMED": "n"}
