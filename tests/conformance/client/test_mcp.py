"""An MCP server before a mesh: what its clients list, call and get."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from lanemesh import Client
from lanemesh.client.updates import ApprovalUpdate, RunState
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh_orchestrator.mcp_server.additions import add_from
from lanemesh_orchestrator.mcp_server.catalog import Catalog
from lanemesh_orchestrator.mcp_server.http import mcp_http_server
from lanemesh_orchestrator.mcp_server.server import MeshServer
from mcp.client import Client as McpClient
from mcp.shared.exceptions import MCPError
from mcp_types import (
    AudioContent,
    CallToolResult,
    ElicitResult,
    EmbeddedResource,
    ImageContent,
    LoggingMessageNotificationParams,
    TextContent,
)

from rigs.mcp_mesh import ADDITIONS, ECHO, content, job, mesh
from rigs.mcp_nodes import PNG
from rigs.misbehaving_nodes import NoText, Panic, leak
from rigs.runs import until

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BYTES: dict[str, Any] = {
    "components": [
        {"id": "in_1", "provider": "mcp_bytes"},
        {
            "id": "out_1",
            "provider": "response",
            "input": [{"lane": "image", "from": "in_1"}, {"lane": "data", "from": "in_1"}],
        },
    ]
}
PIPELINES = {
    "echo": ECHO,
    "bytes": BYTES,
    "mixed": content({"text": "one"}, {"image": 1}, {"audio": 1}, {"text": "two"}, {"data": {"a": [1, None]}}),
    "only-data": content({"data": {"a": [1, None]}}),
    "fails": content({"text": "before"}, {"fail": "it is broken"}),
    "logs": content({"log": "it works"}, {"progress": 50}, {"text": "done"}),
    "waits": content({"progress": 1}, {"wait": 1}),
    "traced": job({"name": {"type": "string"}}, text="{name} {traceparent}"),
    "careful": job({}, approvals=1, text="{decisions}"),
    "careful-twice": job({}, approvals=2, text="{decisions}"),
    "large": content({"characters": 9_000_000}, {"characters": 9_000_000}),
}


class Place:
    """A mesh, a client of it, and an MCP server before it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.server = MeshServer(client)

    def connect(self, mode: str = "auto", **options: Any) -> McpClient:
        """The official client, in this process."""
        return McpClient(self.server, mode=mode, **options)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with mesh(**PIPELINES) as address, Client(address) as client:
        yield Place(client)


eras = pytest.mark.parametrize("mode", ["auto", "legacy"])


def text_of(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


@eras
async def test_deployed_pipelines_are_tools_with_the_arguments_of_their_sources(place: Place, mode: str) -> None:
    async with place.connect(mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(tools) == sorted(PIPELINES)
    assert tools["echo"].description == "Returns its input."
    assert tools["echo"].input_schema["required"] == ["text"]
    assert set(tools["bytes"].input_schema["properties"]) == {"image", "data"}
    assert tools["mixed"].input_schema["properties"] == {}
    assert tools["traced"].input_schema["properties"] == {"name": {"type": "string"}}


@eras
async def test_outputs_are_content_in_the_order_of_their_beginnings(place: Place, mode: str) -> None:
    async with place.connect(mode) as client:
        result = await client.call_tool("mixed", {})
    first, image, audio, data = result.content
    assert isinstance(first, TextContent)
    assert first.text == "one\ntwo"
    assert isinstance(image, ImageContent)
    assert base64.b64decode(image.data) == PNG
    assert isinstance(audio, AudioContent)
    assert isinstance(data, TextContent)
    assert json.loads(data.text) == {"a": [1, None]}
    assert not result.is_error
    assert (result.meta or {})["lanemesh/runId"].startswith("run-")


async def test_a_single_json_object_is_structured_content(place: Place) -> None:
    async with place.connect() as client:
        result = await client.call_tool("only-data", {})
    assert result.structured_content == {"a": [1, None]}


async def test_files_and_json_are_inputs(place: Place) -> None:
    image = {"data": base64.b64encode(PNG).decode(), "mimeType": "image/png"}
    async with place.connect() as client:
        result = await client.call_tool("bytes", {"image": image, "data": {"b": 2}})
    kinds = [type(block) for block in result.content]
    assert kinds == [ImageContent, TextContent]
    assert json.loads(text_of(result)) == {"b": 2}


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("echo", {}, 'needs the key "text"'),
        ("echo", {"text": 7}, "text"),
        ("echo", {"text": "a", "more": 1}, "more"),
        ("bytes", {"image": {"data": "%%", "mimeType": "image/png"}}, "image: data is not base64"),
        ("bytes", {}, "Give at least one of image, data"),
        ("eco", {}, 'Did you mean "echo"?'),
    ],
)
async def test_invalid_calls_are_errors_that_a_model_can_read(
    place: Place, name: str, arguments: dict[str, Any], words: str
) -> None:
    async with place.connect() as client:
        result = await client.call_tool(name, arguments)
    assert result.is_error
    assert words in text_of(result)


@eras
async def test_a_failed_run_is_an_error_with_its_cause_and_what_it_delivered(place: Place, mode: str) -> None:
    async with place.connect(mode) as client:
        result = await client.call_tool("fails", {})
    assert result.is_error
    assert [block.text for block in result.content if isinstance(block, TextContent)] == [
        "ValueError: it is broken (content_1, orchestrator)",
        "before",
    ]


@eras
async def test_progress_and_logs_arrive_during_the_call(place: Place, mode: str) -> None:
    reports: list[tuple[float, str | None]] = []
    logs: list[LoggingMessageNotificationParams] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, message))

    async def on_log(params: LoggingMessageNotificationParams) -> None:
        logs.append(params)

    async with place.connect(mode, logging_callback=on_log, log_level="info") as client:
        if mode == "legacy":
            with pytest.warns(match="logging capability"):
                await client.set_logging_level("info")
        await client.call_tool("logs", {}, progress_callback=on_progress)
        await until(lambda: bool(reports) and len(logs) == 1)  # the client handles each in a task of its own
    assert min(reports) == (1, "content_1: works (50 of 100)")  # an output soon after it is in the result alone
    assert [(line.level, line.logger, line.data) for line in logs] == [("info", "content_1", "it works")]


@eras
async def test_a_cancelled_call_cancels_its_run(place: Place, mode: str) -> None:
    begun = asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    async with place.connect(mode) as client:
        calling = asyncio.create_task(client.call_tool("waits", {}, progress_callback=on_progress))
        async with asyncio.timeout(30):
            await begun.wait()
        (record,) = await place.client.runs(deployment="waits")
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        async with asyncio.timeout(30):
            result = await place.client.attach(record.run_id).result()
    assert result.state is RunState.CANCELLED


async def test_a_result_beyond_the_limit_is_an_error_and_cancels_the_run(place: Place) -> None:
    async with place.connect() as client:
        result = await client.call_tool("large", {})
    assert result.is_error
    assert "exceed 16,777,216 bytes" in text_of(result)


@pytest.mark.parametrize(("given", "arrives"), [(GIVEN, True), ("nonsense", False)])
async def test_a_run_belongs_to_the_trace_of_the_request(place: Place, given: str, arrives: bool) -> None:
    async with place.connect() as client:
        result = await client.call_tool("traced", {"name": "Ada"}, meta=cast("Any", {"traceparent": given}))
    name, traceparent = text_of(result).split(" ")
    assert name == "Ada"
    assert (traceparent == given) is arrives


@eras
@pytest.mark.parametrize(
    ("name", "reply", "text"),
    [
        ("careful", ElicitResult(action="accept", content={}), "yes"),
        ("careful", ElicitResult(action="accept", content={"approve": False, "reason": "too early"}), "no (too early)"),
        ("careful", ElicitResult(action="decline"), "no (the user refused it)"),
        ("careful-twice", ElicitResult(action="accept", content={"approve": True}), "yes yes"),
    ],
)
async def test_the_user_of_a_client_decides_approvals(
    place: Place, mode: str, name: str, reply: ElicitResult, text: str
) -> None:
    asked: list[str] = []

    async def decide(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return reply

    async with place.connect(mode, elicitation_callback=decide) as client:
        result = await client.call_tool(name, {})
    assert text_of(result) == text
    assert sorted(asked)[0] == "job_1 asks for an approval: delete file 0 (delete)"


async def requests_of(client: Client, deployment: str, count: int) -> list[ApprovalUpdate]:
    """The first approvals that a run of a deployment requests, once its record has them."""
    async with asyncio.timeout(30):
        while not (records := await client.runs(deployment=deployment)):  # noqa: ASYNC110 - nothing reports it
            await asyncio.sleep(0.01)
        found: list[ApprovalUpdate] = []
        async for update in client.attach(records[0].run_id).updates():
            if isinstance(update, ApprovalUpdate):
                found.append(update)
            if len(found) == count:
                break
    return found


async def test_a_second_approval_is_asked_about_while_the_first_waits(place: Place) -> None:
    second = asyncio.Event()

    async def decide(context: Any, params: Any) -> ElicitResult:
        if "file 0" in params.message:
            await second.wait()
        second.set()
        return ElicitResult(action="accept", content={})

    async with place.connect("legacy", elicitation_callback=decide) as client, asyncio.timeout(30):
        assert text_of(await client.call_tool("careful-twice", {})) == "yes yes"


@pytest.mark.parametrize(("end", "text"), [("approve", "yes"), ("cancel", "enough")])
async def test_a_call_goes_on_while_its_user_is_asked(place: Place, end: str, text: str) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def decide(context: Any, params: Any) -> ElicitResult:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    async with place.connect("legacy", elicitation_callback=decide) as client, asyncio.timeout(30):
        calling = asyncio.create_task(client.call_tool("careful", {}))
        await asked.wait()
        (record,) = await place.client.runs(deployment="careful")
        if end == "approve":
            (request,) = await requests_of(place.client, "careful", 1)
            await place.client.approve(record.run_id, request.call_id)
        else:
            await place.client.attach(record.run_id).cancel("enough")
        assert text in text_of(await calling)
        await left.wait()  # the question ends with the approval


async def test_another_client_decides_where_the_user_cannot_be_asked(place: Place) -> None:
    async with place.connect() as client:
        calling = asyncio.create_task(client.call_tool("careful", {}))
        (request,) = await requests_of(place.client, "careful", 1)
        (record,) = await place.client.runs(deployment="careful")
        await place.client.approve(record.run_id, request.call_id)
        assert text_of(await calling) == "yes"


async def test_the_list_follows_deployments(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh_orchestrator.mcp_server.catalog.FRESH_SECONDS", 0.0)
    async with place.connect(cache=None) as client:
        before = {tool.name for tool in (await client.list_tools()).tools}
        await place.client.deploy("later", ECHO | {"description": "A new one."})
        await place.client.undeploy("echo")
        after = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(after) == before - {"echo"} | {"later"}
        await place.client.deploy("later", ECHO | {"description": "A newer one."})
        newest = {tool.name: tool.description for tool in (await client.list_tools()).tools}
    assert (after["later"].description, newest["later"]) == ("A new one.", "A newer one.")


async def test_a_mesh_that_is_gone_is_named(place: Place) -> None:
    async with Client("127.0.0.1:1") as gone, McpClient(MeshServer(gone)) as client:
        with pytest.raises(MCPError, match=r"127\.0\.0\.1:1"):
            await client.list_tools()
        assert (await client.call_tool("echo", {"text": "a"})).is_error


async def test_a_file_adds_tools_resources_and_prompts(place: Place) -> None:
    code = add_from(ADDITIONS, place.server)
    async with place.connect() as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"echo", "test_input_required_result_elicitation"} <= names
        assert {str(resource.uri) for resource in (await client.list_resources()).resources} >= {"test://static-text"}
        with pytest.raises(MCPError, match=r"there is no prompt 'nope'; the prompts: test_simple_prompt"):
            await client.get_prompt("nope")
    code.close()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("error", [Panic("index"), SystemExit(3), NoText()], ids=["panic", "exit", "no text"])
async def test_what_an_addition_raises_fails_its_request_alone(place: Place, mode: str, error: BaseException) -> None:
    @place.server.tool()
    def plain() -> str:
        raise error

    @place.server.tool()
    async def asynchronous() -> str:
        raise error

    @place.server.resource("test://broken")
    async def resource() -> str:
        raise error

    @place.server.prompt()
    async def prompt() -> str:
        raise error

    async with place.connect(mode) as client:
        for name in ("plain", "asynchronous"):
            assert (await client.call_tool(name, {})).is_error
        with pytest.raises(MCPError):
            await client.read_resource("test://broken")
        with pytest.raises(MCPError):
            await client.get_prompt("prompt")
        assert not (await client.call_tool("echo", {"text": "a"})).is_error


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_cancellation_that_an_addition_leaks_fails_its_request_alone(place: Place, mode: str) -> None:
    @place.server.tool()
    async def leaks() -> str:
        await leak()
        return ""

    async with place.connect(mode) as client:
        assert (await client.call_tool("leaks", {})).is_error
        assert not (await client.call_tool("echo", {"text": "a"})).is_error


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "cannot be imported"),
        ("x = (", "cannot be imported"),
        ("x = 1", "has no function add_to"),
        ("def add_to(server):\n    raise ValueError('no')", "add_to raised ValueError: no"),
        ("def add_to(server):\n    raise SystemExit(3)", "add_to raised SystemExit: 3"),
    ],
)
async def test_a_bad_file_of_additions_is_refused(place: Place, tmp_path: Path, source: str | None, words: str) -> None:
    file = tmp_path / "additions.py"
    if source is not None:
        file.write_text(source)
    with pytest.raises(LanemeshError, match=words) as caught:
        add_from(file, place.server)
    assert caught.value.fault.reason == "bad-mcp-file"


async def test_an_open_address_needs_a_token(place: Place) -> None:
    with pytest.raises(LanemeshError, match="Give --token-file, or --insecure") as caught:
        mcp_http_server(place.server, "0.0.0.0", 0)
    assert caught.value.fault.reason == "insecure"


async def test_a_port_in_use_is_named(place: Place) -> None:
    first = mcp_http_server(place.server, "127.0.0.1", 0)
    port = int(first.url.rpartition(":")[2].partition("/")[0])
    with pytest.raises(LanemeshError, match=f"cannot listen on 127.0.0.1:{port}"):
        mcp_http_server(place.server, "127.0.0.1", port)
    first.close()


def test_documents_and_media_without_a_uri_have_one_of_their_run() -> None:
    from datetime import UTC, datetime

    from lanemesh import Document, Media, Video
    from lanemesh.client.updates import OutputUpdate
    from lanemesh_orchestrator.mcp_server.outcome import Outcome

    outcome = Outcome("run-1")
    file = Document("", source="a.pdf", file=Media("application/pdf", b"%PDF"))
    values = [("documents", Document("text")), ("video", Video("video/mp4", b"abc")), ("documents", file)]
    for number, (lane, value) in enumerate(values):
        outcome.add(
            OutputUpdate(sequence=number, time=datetime.now(UTC), component="out", port="items", lane=lane, value=value)
        )
    resources = [block.resource for block in outcome.content() if isinstance(block, EmbeddedResource)]
    assert [resource.uri for resource in resources] == [
        f"lanemesh://runs/run-1/outputs/out/items/{n}" for n in range(3)
    ]
    assert (resources[2].mime_type, getattr(resources[2], "blob", "")) == ("application/pdf", "JVBERg==")


async def test_clients_that_ask_together_wait_once_for_a_mesh_that_hangs() -> None:
    asked, failing = 0, asyncio.Event()

    class Hanging:
        async def deployments(self) -> None:
            nonlocal asked
            asked += 1
            await failing.wait()
            raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="gone", message="it is gone"))

    catalog = Catalog(cast("Any", Hanging()))
    asking = [asyncio.create_task(catalog.offers()) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    failing.set()
    done = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(one) for one in done] == [asyncio.CancelledError, *[LanemeshError] * 4]
    assert asked == 1
