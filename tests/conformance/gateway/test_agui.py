"""AG-UI: text, thoughts, tool calls, interrupts for approvals, failures, clients that disconnect, bad requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from lanemesh import NodeUpdate, RunState
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.gateway.agui.interrupts import InterruptId

from endings import lasting
from rigs.agui_pipelines import NODE_FILES, PIPELINES, model
from rigs.agui_rules import check_stream
from rigs.gateways import SECONDS, gateway_at
from rigs.runs import RIGS, chat, node, pipeline, response

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mesh() -> AsyncIterator[Mesh]:
    async with lasting("the mesh", Mesh(nodes=NODE_FILES)) as mesh:
        for name, document in PIPELINES.items():
            await mesh.deploy(name, document)
        yield mesh


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway_at(mesh) as server, httpx.AsyncClient(base_url=server.url, timeout=SECONDS) as client:
        yield client


def asked(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The body of a request."""
    given = messages or ({"id": "m1", "role": "user", "content": "hello"},)
    return {"threadId": "t1", "runId": "r1", "messages": list(given), **fields}


async def run(client: httpx.AsyncClient, name: str, body: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The events of a request, which follow the rules of the protocol."""
    response = await client.post(f"/v1/agui/{name}", json=body or asked())
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return check_stream(response.text)


def of(events: list[dict[str, Any]], kind: str, field: str) -> list[Any]:
    """A field of the events of a type."""
    return [event[field] for event in events if event["type"] == kind]


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(of(events, "TEXT_MESSAGE_CONTENT", "delta"))


async def refused(client: httpx.AsyncClient, name: str, body: Any) -> dict[str, Any]:
    """The problem with which a request is refused."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await client.post(f"/v1/agui/{name}", content=content)
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem: dict[str, Any] = response.json()
    assert problem["status"] == response.status_code
    return problem


@pytest.mark.parametrize("name", ["words", "text"])
async def test_text_is_one_message(client: httpx.AsyncClient, name: str) -> None:
    events = await run(client, name)

    assert text_of(events) == "one two three"
    assert len(of(events, "TEXT_MESSAGE_START", "messageId")) == 1
    assert events[0]["threadId"] == "t1"
    assert events[-1]["outcome"] == {"type": "success"}


async def test_the_tokens_of_answers_are_the_usage(client: httpx.AsyncClient) -> None:
    events = await run(client, "words")

    assert events[-1]["usage"] == [{"inputTokens": 1, "outputTokens": 3, "totalTokens": 4}]


async def test_nodes_are_steps_and_state(client: httpx.AsyncClient) -> None:
    events = await run(client, "words", asked(state={"theme": "dark"}))

    assert "llm" in of(events, "STEP_STARTED", "stepName")
    (snapshot,) = of(events, "STATE_SNAPSHOT", "snapshot")
    assert snapshot["theme"] == "dark"
    changes = [change for delta in of(events, "STATE_DELTA", "delta") for change in delta]
    assert [one["value"] for one in changes if one["path"] == "/lanemesh/nodes/llm"][-1] == "completed"


async def test_thoughts_and_tool_calls(client: httpx.AsyncClient) -> None:
    events = await run(client, "adds")

    assert of(events, "REASONING_MESSAGE_CONTENT", "delta") == ["I add."]
    (call,) = of(events, "TOOL_CALL_START", "toolCallId")
    assert of(events, "TOOL_CALL_START", "toolCallName") == ["add"]
    assert json.loads("".join(of(events, "TOOL_CALL_ARGS", "delta"))) == {"a": 1, "b": 2}
    assert of(events, "TOOL_CALL_RESULT", "toolCallId") == [call]
    assert of(events, "TOOL_CALL_RESULT", "content") == ["3"]
    assert text_of(events) == "It is 3."
    assert "agent wave 1" in of(events, "STEP_STARTED", "stepName")


async def test_the_messages_of_the_client_are_the_history(client: httpx.AsyncClient, mesh: Mesh) -> None:
    before = await run(client, "adds")
    call = of(before, "TOOL_CALL_START", "toolCallId")[0]
    function = {"name": "add", "arguments": '{"a": 1, "b": 2}'}
    messages: list[dict[str, Any]] = [
        {"id": "1", "role": "user", "content": "add"},
        {"id": "2", "role": "reasoning", "content": "I add."},
        {
            "id": "3",
            "role": "assistant",
            "toolCalls": [{"id": call, "type": "function", "function": function}],
        },
        {"id": "4", "role": "tool", "toolCallId": call, "content": "3"},
        {"id": "5", "role": "assistant", "content": "It is 3."},
        {"id": "6", "role": "user", "content": [{"type": "text", "text": "again"}]},
    ]
    document = model("first", "second", "third")
    await mesh.deploy("counts", document)

    events = await run(client, "counts", asked(*messages))

    assert text_of(events) == "third", "the model has the two turns of the assistant"


async def test_a_kept_session_has_the_history(client: httpx.AsyncClient, mesh: Mesh) -> None:
    await mesh.deploy("remembers", model("first", "second"))
    body = asked(forwardedProps={"session": "agui-session-1"})

    assert text_of(await run(client, "remembers", body)) == "first"
    assert text_of(await run(client, "remembers", body)) == "second"
    assert text_of(await run(client, "remembers")) == "first", "without a session there is no history"


async def test_the_thread_is_the_session_of_its_runs(client: httpx.AsyncClient) -> None:
    assert text_of(await run(client, "session", asked(threadId="thread-7"))) == "hello thread-7"


async def test_a_thread_whose_id_is_no_session_is_refused(client: httpx.AsyncClient) -> None:
    assert (await refused(client, "session", asked(threadId="x" * 200)))["status"] == 400


async def test_a_pipeline_that_takes_text_gets_the_text(client: httpx.AsyncClient) -> None:
    assert "hello" in text_of(await run(client, "repeats"))


@pytest.mark.parametrize(
    ("before", "fields"),
    [
        ([{"id": "s1", "role": "system", "content": "Be brief."}], {}),
        ([{"id": "s1", "role": "developer", "content": "Be brief."}], {}),
        ([], {"context": [{"description": "page", "value": "home"}]}),
    ],
)
async def test_a_pipeline_that_takes_text_gets_it_without_instructions(
    client: httpx.AsyncClient, before: list[dict[str, Any]], fields: dict[str, Any]
) -> None:
    last = {"id": "m1", "role": "user", "content": "hello"}
    plain = text_of(await run(client, "repeats"))
    assert text_of(await run(client, "repeats", asked(*before, last, **fields))) == plain


LOOK = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}


async def test_a_model_calls_the_tools_of_the_client(client: httpx.AsyncClient) -> None:
    user = {"id": "1", "role": "user", "content": "look"}
    first = await run(client, "calls", asked(user, tools=[LOOK]))

    (call,) = of(first, "TOOL_CALL_START", "toolCallId")
    assert of(first, "TOOL_CALL_START", "toolCallName") == ["look"]
    assert json.loads("".join(of(first, "TOOL_CALL_ARGS", "delta"))) == {"at": "a"}
    assert first[-1]["outcome"] == {"type": "success", "pendingToolCallIds": [call]}

    function = {"name": "look", "arguments": '{"at": "a"}'}
    called = {"id": "2", "role": "assistant", "toolCalls": [{"id": call, "type": "function", "function": function}]}
    result = {"id": "3", "role": "tool", "toolCallId": call, "content": "blue"}
    second = await run(client, "calls", asked(user, called, result, tools=[LOOK]))

    assert text_of(second) == "It is blue."


async def test_an_agent_takes_no_tools_of_the_client(client: httpx.AsyncClient) -> None:
    problem = await refused(client, "adds", asked(tools=[LOOK]))

    assert (problem["status"], problem["title"]) == (400, "unsupported-parameter")


def resume(events: list[dict[str, Any]], *payloads: Any, **fields: Any) -> dict[str, Any]:
    """The body of a request that answers the interrupts of a stream; None: abandoned."""
    entries = [
        {"interruptId": one["id"], "status": "cancelled"}
        if payload is None
        else {"interruptId": one["id"], "status": "resolved", "payload": payload}
        for one, payload in zip(events[-1]["outcome"]["interrupts"], payloads, strict=False)
    ]
    return asked(runId="r2", resume=entries, **fields)


async def test_an_approval_interrupts_and_the_next_request_goes_on(client: httpx.AsyncClient, mesh: Mesh) -> None:
    first = await run(client, "asks")
    (interrupt,) = first[-1]["outcome"]["interrupts"]
    (call,) = of(first, "TOOL_CALL_START", "toolCallId")
    assert interrupt["toolCallId"] == call
    assert interrupt["reason"] == "tool_call"
    assert interrupt["metadata"]["lanemesh"]["arguments"] == {"a": 1, "b": 2}
    assert not of(first, "TOOL_CALL_RESULT", "content")
    record = await mesh.record(interrupt["metadata"]["lanemesh"]["run_id"])
    assert record.state is RunState.RUNNING, "the run waits without its client"

    second = await run(client, "asks", resume(first, {"approved": True}))

    assert (second[0]["runId"], second[-1]["outcome"]) == ("r2", {"type": "success"})
    assert of(second, "TOOL_CALL_RESULT", "toolCallId") == [call]
    assert of(second, "TOOL_CALL_RESULT", "content") == ["3"]
    assert not of(second, "TOOL_CALL_START", "toolCallId"), "the client has the call"
    assert text_of(second) == "Done."


@pytest.mark.parametrize(
    ("payload", "reason"),
    [({"approved": False, "reason": "too large"}, "too large"), (None, "cancelled by the client")],
)
async def test_a_refused_call_is_a_result(client: httpx.AsyncClient, payload: Any, reason: str) -> None:
    events = await run(client, "asks", resume(await run(client, "asks"), payload))

    assert reason in of(events, "TOOL_CALL_RESULT", "content")[0]
    assert events[-1]["outcome"] == {"type": "success"}


async def test_the_interrupts_without_an_answer_come_again(client: httpx.AsyncClient) -> None:
    events = await run(client, "asks_twice")
    results: list[Any] = []
    while events[-1]["outcome"]["type"] == "interrupt":
        events = await run(client, "asks_twice", resume(events, {"approved": True}))
        results += of(events, "TOOL_CALL_RESULT", "content")

    assert results == ["3", "3"]
    assert text_of(events) == "Done."


async def test_a_gateway_that_did_not_start_the_run_goes_on(client: httpx.AsyncClient, mesh: Mesh) -> None:
    first = await run(client, "asks")
    async with gateway_at(mesh) as other, httpx.AsyncClient(base_url=other.url, timeout=SECONDS) as second:
        events = await run(second, "asks", resume(first, {"approved": True}))

    assert text_of(events) == "Done."


async def test_a_gateway_to_an_orchestrator_elsewhere_goes_on(remote: httpx.AsyncClient) -> None:
    await remote.put("/v1/deployments/asks_remotely", json={"pipeline": PIPELINES["asks"]})
    first = await run(remote, "asks_remotely")
    events = await run(remote, "asks_remotely", resume(first, {"approved": True}))
    await remote.delete("/v1/deployments/asks_remotely")

    assert of(events, "TOOL_CALL_RESULT", "content") == ["3"]
    assert text_of(events) == "Done."


async def test_an_interrupt_is_answered_once(client: httpx.AsyncClient) -> None:
    first = await run(client, "asks")
    body = resume(first, {"approved": True})
    await run(client, "asks", body)

    problem = await refused(client, "asks", body)

    assert (problem["status"], problem["title"]) == (409, "approval-decided")


async def test_an_interrupt_belongs_to_its_agent(client: httpx.AsyncClient) -> None:
    first = await run(client, "asks")

    problem = await refused(client, "words", resume(first, {"approved": True}))

    assert problem["errors"][0]["pointer"] == "/resume/0/interruptId"
    await run(client, "asks", resume(first, None))


async def test_a_decision_elsewhere_ends_the_interrupt(client: httpx.AsyncClient, mesh: Mesh) -> None:
    first = await run(client, "asks")
    waits = first[-1]["outcome"]["interrupts"][0]["metadata"]["lanemesh"]
    await mesh.refuse(waits["run_id"], waits["call_id"], "not today", component=waits["component"])

    problem = await refused(client, "asks", resume(first, {"approved": True}))

    assert problem["status"] == 409
    result = await mesh.attach(waits["run_id"]).result()
    assert result.state is RunState.COMPLETED, "a run without its client goes on"


async def test_a_failure_after_the_first_token_is_an_error_event(client: httpx.AsyncClient) -> None:
    events = await run(client, "broken")

    assert text_of(events).startswith("one")
    assert events[-1]["type"] == "RUN_ERROR"
    assert "the model broke" in events[-1]["message"]


async def test_a_client_that_disconnects_cancels_its_run(client: httpx.AsyncClient, mesh: Mesh) -> None:
    async with client.stream("POST", "/v1/agui/hangs", json=asked()) as response:
        run_id = response.headers["location"].rpartition("/")[2]
        async for line in response.aiter_lines():
            if "RUN_STARTED" in line:
                break
    async with asyncio.timeout(SECONDS):
        result = await mesh.attach(run_id).result()

    assert result.state is RunState.CANCELLED
    assert "disconnected" in result.reason


async def test_a_run_that_is_cancelled_elsewhere_has_that_outcome(client: httpx.AsyncClient, mesh: Mesh) -> None:
    body = ""
    async with client.stream("POST", "/v1/agui/hangs", json=asked()) as response:
        run_id = response.headers["location"].rpartition("/")[2]
        await mesh.attach(run_id).cancel("enough")
        async for piece in response.aiter_text():
            body += piece

    assert check_stream(body)[-1]["outcome"] == {"type": "cancelled"}


USER = {"id": "m", "role": "user", "content": "hello"}
CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
CALLED = {"id": "a", "role": "assistant", "toolCalls": [CALL]}
RESULT = {"id": "r", "role": "tool", "toolCallId": "c", "content": "3"}
VIDEO = {"type": "video", "source": {"type": "data", "value": "AA==", "mimeType": "video/mp4"}}
FAR = {"type": "image", "source": {"type": "url", "value": "http://127.0.0.1/secret"}}

BROKEN = {"type": "image", "source": {"type": "data", "value": "%", "mimeType": "image/png"}}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"threadId": "t", "runId": "r"}, "/messages"),
        (asked(runId=1), "/runId"),
        (asked({"id": "m", "role": "user", "content": 7}), "/messages/0/content"),
        (asked({"id": "m", "role": "judge", "content": "x"}), "/messages/0"),
        (asked({"id": "m", "role": "assistant", "content": "x"}), "/messages/0"),
        (asked(USER, {**RESULT, "toolCallId": "other"}), "/messages/1"),
        (asked(USER, CALLED, RESULT, {**RESULT, "id": "r2"}, USER), "/messages/3"),
        (asked(USER, {**CALLED, "toolCalls": [CALL, CALL]}, RESULT, USER), "/messages/1"),
        (asked({**USER, "content": [VIDEO]}), "/messages/0/content/0"),
        (asked({**USER, "content": [FAR]}), "/messages/0/content/0/source"),
        (asked({**USER, "content": [BROKEN]}), "/messages/0/content/0/source"),
        (asked(tools=[{"name": "t", "description": "d", "parameters": 1}]), "/tools/0/parameters"),
        (asked(forwardedProps={"session": 1}), "/forwardedProps/session"),
        (asked(resume=[{"interruptId": "x", "status": "resolved"}]), "/resume/0/interruptId"),
        (asked(resume=[{"interruptId": "a/1/b/c", "status": "resolved", "payload": "yes"}]), "/resume/0/payload"),
        (asked(resume=[{"interruptId": "a/1/b/c", "status": "maybe"}]), "/resume/0/status"),
    ],
)
async def test_a_bad_request_names_the_field(client: httpx.AsyncClient, body: dict[str, Any], pointer: str) -> None:
    problem = await refused(client, "words", body)

    assert problem["status"] == 400
    found = [error["pointer"] for error in problem.get("errors", [])] or [problem["details"]["param"]]
    assert pointer in found, problem


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ([0] * 100_000, "/messages/0"),
        ([{"id": "m1", "role": "user", "content": [0] * 100_000}], "/messages/0/content"),
        ([{"id": "m1", "role": "assistant", "toolCalls": [0] * 100_000}], "/messages/0/toolCalls"),
    ],
)
async def test_a_long_list_of_wrong_entries_is_one_error(
    client: httpx.AsyncClient, wrong: list[Any], pointer: str
) -> None:
    problem = await refused(client, "none", asked(*wrong))
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


async def test_half_json_is_refused(client: httpx.AsyncClient) -> None:
    problem = await refused(client, "words", b'{"threadId": "t", "runId"')

    assert (problem["status"], problem["title"]) == (400, "not-json")


@pytest.mark.parametrize(
    "body", [asked(), asked(resume=[{"interruptId": "none/1/a/b", "status": "resolved", "payload": True}])]
)
async def test_what_is_unknown_is_not_found(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await refused(client, "nothing", body))["status"] == 404


async def test_a_call_without_a_result_is_left_out(client: httpx.AsyncClient) -> None:
    events = await run(client, "words", asked(USER, CALLED, USER))

    assert text_of(events) == "one two three", "the turn with the call alone is no turn of the model"


async def test_a_client_that_misses_updates_gets_an_error() -> None:
    document = pipeline(
        chat(),
        node("first", "careful", "chat"),
        node("other", "careful", "chat"),
        node("series", "series", "first", count=3_000, size=1_000),
        response("series"),
        response("other", name="rest"),
    )
    nodes = [*NODE_FILES, RIGS / "approval_nodes.py"]
    async with (
        Mesh(nodes=nodes, run_memory=1024 * 1024) as small,
        gateway_at(small) as server,
        httpx.AsyncClient(base_url=server.url, timeout=SECONDS) as client,
    ):
        await small.deploy("floods", document)
        events = await run(client, "floods")
        (interrupt, *_) = events[-1]["outcome"]["interrupts"]
        found = InterruptId.parse(interrupt["id"], "")
        watcher = small.attach(found.run_id, found.after)
        await small.approve(found.run_id, "c1", component="first")
        async with aclosing(watcher.updates()) as updates:
            async for update in updates:
                ended = isinstance(update, NodeUpdate) and update.component == "series" and update.state == "completed"
                if ended or watcher.missed:  # the log has dropped its first updates
                    break
        given = {"interruptId": str(replace(found, component="other")), "status": "resolved", "payload": True}

        events = await run(client, "floods", asked(resume=[given]))

    assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", "updates-not-kept")
