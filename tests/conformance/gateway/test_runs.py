"""Runs over HTTP: started, listed, fed, cancelled, decided."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.gateway import documents
from lanemesh_orchestrator.pipeline.redaction import without_secrets
from lanemesh_orchestrator.runs.check_pool import INLINE_BYTES

from rigs.gateways import EVENTS, all_events, events, texts
from rigs.runs import chat, line, node, pipeline, response

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("a", "tag", "chat", mark="+"))
FILE = pipeline({"id": "file", "provider": "file"}, {"id": "out", "provider": "response", "config": {"lane": "image"}})
FILE["components"][1]["input"] = [{"lane": "image", "from": "file"}]


async def start(web: httpx.AsyncClient, document: Any = TAG, **fields: Any) -> str:
    """Starts a run; returns its path."""
    answer = await web.post("/v1/runs", json={"pipeline": document, **fields})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/runs/{answer.json()['run_id']}"
    return answer.headers["location"]


async def outputs(web: httpx.AsyncClient, path: str) -> list[Any]:
    """The values of a run, read to its end."""
    return texts(await all_events(web, f"{path}/events"))


async def test_a_run_is_started_with_values_of_several_forms(web: httpx.AsyncClient) -> None:
    question = {"lane": "questions", "value": {"text": "why?", "history": [{"role": "user", "content": "hi"}]}}

    path = await start(web, inputs=["one", {"lane": "text", "value": "two"}, question, {"port": "text", "value": "4"}])

    assert await outputs(web, path) == ["+one", "+two", "+why?", "+4"]


async def test_media_arrive_and_return_in_base64(web: httpx.AsyncClient) -> None:
    content = base64.b64encode(bytes(range(256))).decode()
    image = {"mime_type": "image/png", "content": content, "width": 3}

    path = await start(web, FILE, input={"lane": "image", "value": image})

    assert await outputs(web, path) == [{**image, "bytes": 256}]


async def test_an_owned_run_answers_with_its_events(web: httpx.AsyncClient) -> None:
    body = {"pipeline": TAG, "input": "x", "detached": False}

    async with web.stream("POST", "/v1/runs", json=body, headers=EVENTS) as answer:
        found = [event async for event in events(answer)]

    assert (answer.status_code, texts(found)) == (200, ["+x"])
    assert [int(event.id) for event in found] == list(range(1, len(found) + 1))
    record = (await web.get(answer.headers["location"])).json()
    assert (record["state"], record["detached"]) == ("completed", False)


async def test_settings_timeout_variables_and_trace_are_those_of_the_run(web: httpx.AsyncClient) -> None:
    document = line(node("a", "tag", "chat", mark="${MARK}"))

    path = await start(web, document, input="x", variables={"MARK": "!"}, trace="full", timeout=60)
    assert await outputs(web, path) == ["!x"]
    assert (await web.get(path)).json()["trace"] == "full"

    path = await start(web, TAG, input="x", settings={"a.mark": "?"})
    assert await outputs(web, path) == ["?x"]


async def test_an_open_input_is_fed_until_it_ends_by_any_client(web: httpx.AsyncClient) -> None:
    path = await start(web, open_input=True, input="1")

    assert (await web.post(f"{path}/input", json={"value": "2"})).json() == {"taken": 1}
    assert (await web.post(f"{path}/input", json={"values": ["3", "4"], "port": "text", "end": True})).json() == {
        "taken": 2
    }

    assert await outputs(web, path) == ["+1", "+2", "+3", "+4"]
    late = await web.post(f"{path}/input", json={"value": "5"})
    assert (late.status_code, late.json()["title"]) == (409, "run-ended")


async def test_a_rejected_value_names_its_place_and_how_many_were_taken(web: httpx.AsyncClient) -> None:
    path = await start(web, open_input=True)

    answer = await web.post(f"{path}/input", json={"values": ["1", {"lane": "data", "value": 2}, "3"]})

    assert (answer.status_code, answer.json()["title"]) == (409, "bad-input")
    assert answer.json()["detail"].startswith("/values/1: ")
    assert answer.json()["detail"].endswith("The 1 values before it were taken")
    await web.post(f"{path}/input", json={"end": True})
    assert await outputs(web, path) == ["+1"]


async def test_a_cancelled_run_ends_with_the_reason(web: httpx.AsyncClient) -> None:
    path = await start(web, open_input=True)

    assert (await web.post(f"{path}/cancel", json={"reason": "enough"})).status_code == 200

    last = (await all_events(web, f"{path}/events"))[-1].data
    assert (last["state"], last["reason"]) == ("cancelled", "enough")
    assert (await web.get(path)).json()["reason"] == "enough"
    assert (await web.post(f"{path}/cancel", json={})).status_code == 200  # it has ended: no effect


async def test_runs_are_listed_in_pages_and_by_state(web: httpx.AsyncClient) -> None:
    paths = [await start(web, input=str(number)) for number in range(5)]
    for path in paths:
        await outputs(web, path)
    ids = [path.rpartition("/")[2] for path in paths]

    first = (await web.get("/v1/runs", params={"limit": 3, "state": ["completed", "failed"]})).json()
    second = (await web.get("/v1/runs", params={"limit": 2, "page": first["next_page"]})).json()

    assert [run["run_id"] for run in first["runs"] + second["runs"]] == ids[::-1]
    assert (await web.get("/v1/runs", params={"deployment": "none"})).json() == {"runs": []}


async def test_approvals_are_listed_and_decided(embedded: httpx.AsyncClient) -> None:
    document = pipeline(chat(), node("a", "careful", "chat"), response({"lane": "text", "from": "a"}))
    for decision, value in (({"approved": True}, "approved"), ({"approved": False, "reason": "no"}, "refused: no")):
        path = await start(embedded, document, input="bob")
        async with embedded.stream("GET", f"{path}/events") as answer:
            found = events(answer)
            asked = None
            async for event in found:
                if event.data["update"] == "approval" and event.data["state"] == "requested":
                    asked = event.data
                    break
            assert asked is not None
            pending = (await embedded.get(path)).json()["approvals"]
            assert [(one["call_id"], one["arguments"]) for one in pending] == [(asked["call_id"], asked["arguments"])]
            decided = await embedded.post(f"{path}/approvals/{asked['call_id']}", json=decision)
            assert decided.status_code == 200
            assert texts([event async for event in found]) == [value]
        again = await embedded.post(f"{path}/approvals/{asked['call_id']}", json=decision)
        assert again.status_code == 409


async def test_a_failed_run_ends_its_stream_with_the_cause(web: httpx.AsyncClient) -> None:
    path = await start(web, line(node("a", "fail", "chat")), inputs=["good", "bad"])

    found = await all_events(web, f"{path}/events")

    assert texts(found) == ["good"]
    assert found[-1].data["state"] == "failed"
    assert found[-1].data["error"]["reason"] == (await web.get(path)).json()["error"]["reason"] == "node-error"


async def test_unknown_runs_are_404_everywhere(web: httpx.AsyncClient) -> None:
    answers = [
        await web.get("/v1/runs/run-none"),
        await web.get("/v1/runs/run-none/events"),
        await web.post("/v1/runs/run-none/input", json={"value": "x"}),
        await web.post("/v1/runs/run-none/cancel", json={}),
        await web.post("/v1/runs/run-none/approvals/c1", json={"approved": True}),
    ]
    assert [(one.status_code, one.json()["title"]) for one in answers] == [(404, "unknown-run")] * 5


async def test_an_invalid_pipeline_has_every_fault_with_its_pointer(web: httpx.AsyncClient) -> None:
    document = {"components": [{"id": "a", "provider": "nothing"}, {"id": "a", "provider": "chat"}]}

    answer = await web.post("/v1/runs", json={"pipeline": document})

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert {fault["pointer"] for fault in answer.json()["faults"]} >= {"/components/0/provider", "/components/1/id"}
    checked = await web.post("/v1/validate", json={"pipeline": document})
    assert checked.json()["faults"] == answer.json()["faults"]


async def test_literal_secrets_are_in_no_record_and_no_deployment(embedded: httpx.AsyncClient, mesh: Mesh) -> None:
    secret = "sk-very-secret"
    leaky = node("a", "leaky", "chat", mode="raise", api_key=secret)
    document = pipeline(chat(), leaky, response({"lane": "text", "from": "a", "output": "said"}))
    path = await start(embedded, document, input="x")
    await embedded.put("/v1/deployments/secret", json={"pipeline": document})

    shown = [
        "".join(str(event.data) for event in await all_events(embedded, f"{path}/events")),
        (await embedded.get(path)).text,
        (await embedded.get("/v1/deployments/secret")).text,
        (await embedded.get("/v1/deployments")).text,
    ]

    assert [secret in text for text in shown] == [False] * 4
    assert '"api_key":"***"' in shown[2]
    await embedded.delete("/v1/deployments/secret")


async def test_a_large_deployment_is_read_for_its_secrets_beside_the_event_loop(
    embedded: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaky = node("a", "leaky", "chat", mode="raise", api_key="sk-very-secret")
    document = pipeline(chat(), leaky, response({"lane": "text", "from": "a", "output": "said"}))
    document["ui"] = "x" * INLINE_BYTES
    await embedded.put("/v1/deployments/secret", json={"pipeline": document})
    readers: list[threading.Thread] = []

    def reading(text: str, types: Mapping[str, node_pb2.Manifest]) -> str:
        readers.append(threading.current_thread())
        return without_secrets(text, types)

    monkeypatch.setattr(documents, "without_secrets", reading)
    shown = (await embedded.get("/v1/deployments/secret")).json()["pipeline"]

    assert shown["components"][1]["config"]["api_key"] == "***"
    assert [reader is threading.current_thread() for reader in readers] == [False]
    await embedded.delete("/v1/deployments/secret")
