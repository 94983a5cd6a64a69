"""The tools of MCP servers in runs: servers of both eras and both transports, and servers that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lanemesh import LanemeshError
from lanemesh.client.results import RunResult
from lanemesh.client.updates import ApprovalState, ApprovalUpdate, RunState, ToolProgressUpdate, ToolResultUpdate
from lanemesh_orchestrator.mcp_server.http import mcp_http_server
from lanemesh_orchestrator.mesh import Mesh
from lanemesh_services.tools.mcp_connection import McpConnection, ServerOptions
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

from rigs.ports import free_port
from rigs.runs import lines, until

ROGUE = Path(__file__).parents[2] / "rigs" / "mcp_rogue.py"


def rogue(mode: str, journal: Path | None = None, **config: Any) -> dict[str, Any]:
    """The config of a server that misbehaves."""
    command = [sys.executable, "-S", str(ROGUE), mode, *([str(journal)] if journal is not None else [])]
    return {"command": command, "protocol": "legacy", **config}


def agent(config: dict[str, Any], *turns: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """An agent that makes these calls, one list of them in each of its waves."""
    script: list[Any] = [
        {"text": "calls", "tool_calls": [{"name": name, "arguments": arguments} for name, arguments in turn]}
        for turn in turns
    ]
    return {
        "components": [
            {"id": "chat_1", "provider": "chat"},
            {"id": "agent_1", "provider": "agent_wave", "input": [{"lane": "questions", "from": "chat_1"}]},
            {"id": "out_1", "provider": "response", "input": [{"lane": "answers", "from": "agent_1"}]},
            {
                "id": "llm_1",
                "provider": "llm_scripted",
                "config": {"script": [*script, "done"]},
                "control": [{"classType": "llm", "from": "agent_1"}],
            },
            {
                "id": "mcp_1",
                "provider": "tool_mcp",
                "config": config,
                "control": [{"classType": "tool", "from": "agent_1"}],
            },
        ]
    }


async def calls(
    mesh: Mesh, config: dict[str, Any], *turns: list[tuple[str, dict[str, Any]]]
) -> tuple[RunResult, list[ToolResultUpdate], list[ToolProgressUpdate]]:
    """How a run of such an agent ended, the results of its calls, and their progress."""
    async with mesh.run(agent(config, *turns), input="go") as run:
        updates = [update async for update in run.updates()]
        result = await run.result() if not run.state.is_terminal else RunResult(run.id, run.state, (), run._error)
    results = [update for update in updates if isinstance(update, ToolResultUpdate)]
    return result, results, [update for update in updates if isinstance(update, ToolProgressUpdate)]


@asynccontextmanager
async def over_http(server: MCPServer[Any], token: str = "", port: int = 0) -> AsyncIterator[str]:
    """The URL of a server in this process."""
    http = mcp_http_server(server, "127.0.0.1", port, token)
    serving = asyncio.create_task(http.run())
    try:
        yield http.url
    finally:
        http.close()
        await serving


def weather() -> MCPServer[Any]:
    """A server with tools, by the official SDK."""
    server = MCPServer[Any]("weather", log_level="ERROR")

    @server.tool()
    async def temperature(city: str, context: Context[Any, Any]) -> dict[str, int]:
        """The temperature in a city."""
        await context.report_progress(1, 2, f"looks up {city}")
        return {"degrees": len(city)}

    @server.tool()
    async def wait() -> str:
        """Does not end."""
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    ended = asyncio.Event()
    server.ended = ended  # type: ignore[attr-defined]
    return server


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with Mesh() as made:
        yield made


@pytest.mark.parametrize("protocol", ["auto", "legacy"])
async def test_happy_a_server_over_http_in_both_eras(mesh: Mesh, protocol: str) -> None:
    async with over_http(weather(), "a secret") as url:
        config = {"url": url, "headers": {"Authorization": "Bearer a secret"}, "protocol": protocol}
        result, results, progress = await calls(mesh, config, [("temperature", {"city": "Oslo"})])
        await mesh.close()  # before the server, which would wait for the connection
    assert result.state is RunState.COMPLETED, result
    assert [(one.content, one.is_error) for one in results] == [('{"degrees": 4}', False)]
    assert [(one.message, one.fraction) for one in progress] == [("looks up Oslo", 0.5)]


@pytest.fixture
def unused_port() -> int:
    return free_port()


@pytest.fixture
async def connection(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[McpConnection]:
    """A connection to the port, with sessions. Servers that end do not wait for it."""
    monkeypatch.setattr("lanemesh_orchestrator.http_server.server.GRACE_SECONDS", 0)
    url = f"http://127.0.0.1:{unused_port}/mcp"
    made = McpConnection(ServerOptions(url=url, environment={}, headers={}, legacy=True))
    yield made
    await made.close()


async def temperature(connection: McpConnection, city: str) -> Any:
    """The result of a call, without a run."""

    async def report(progress: float, total: float | None, message: str | None) -> None: ...

    async def ask(question: str) -> bool:
        return False

    return (await connection.call("temperature", {"city": city}, report, ask)).structured_content


async def test_happy_calls_go_on_in_a_new_session_if_the_server_has_lost_theirs(
    connection: McpConnection, unused_port: int
) -> None:
    for cities in (["Oslo"], ["Rome", "Tokyo", "Lisbon"], ["Oslo"]):
        async with over_http(weather(), port=unused_port):
            found = await asyncio.gather(*(temperature(connection, city) for city in cities))
            assert found == [{"degrees": len(city)} for city in cities]
    async with over_http(weather(), port=unused_port):
        assert [spec.name for spec in await connection.tools()] == ["temperature", "wait"]


async def test_error_a_server_that_is_away_is_named_and_used_again_when_it_is_back(
    connection: McpConnection, unused_port: int
) -> None:
    async with over_http(weather(), port=unused_port):
        await connection.tools()
    for _ in range(2):
        with pytest.raises(LanemeshError, match=r"the MCP server 127\.0\.0\.1"):
            await temperature(connection, "Oslo")
    async with over_http(weather(), port=unused_port):
        assert await temperature(connection, "Oslo") == {"degrees": 4}


@pytest.mark.parametrize("protocol", ["auto", "legacy"])
async def test_shutdown_cancelling_the_run_cancels_the_call_at_the_server(mesh: Mesh, protocol: str) -> None:
    server = weather()
    async with over_http(server) as url:
        document = agent({"url": url, "protocol": protocol}, [("wait", {})])
        async with mesh.run(document, input="go") as run:
            async for update in run.updates():
                if type(update).__name__ == "ToolCallUpdate":
                    break
            await run.cancel()
        async with asyncio.timeout(10):
            await server.ended.wait()  # type: ignore[attr-defined]
        await mesh.close()


async def test_shutdown_a_call_over_stdio_is_cancelled_at_the_server(mesh: Mesh, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with mesh.run(agent(rogue("hangs", journal), [("tool_0", {})]), input="go") as run:
        await until(lambda: any(line.startswith("call") for line in lines(journal)))
        await run.cancel()
    await until(lambda: "cancelled" in lines(journal))


async def test_happy_results_are_values(mesh: Mesh) -> None:
    _, results, _ = await calls(mesh, rogue("structured"), [("tool_0", {})])
    assert [json.loads(one.content) for one in results] == [{"degrees": 9}]


async def test_happy_progress_has_a_fraction(mesh: Mesh) -> None:
    _, _, progress = await calls(mesh, rogue("progress"), [("tool_0", {})])
    assert [(one.message, one.fraction) for one in progress] == [("step 1", 0.25), ("step 2", 0.5), ("step 4", 1.0)]


@pytest.mark.parametrize("mode", ["floods", "noise"])
async def test_happy_a_server_that_talks_too_much_still_works(mesh: Mesh, mode: str) -> None:
    result, results, _ = await calls(mesh, rogue(mode), [("tool_0", {"a": 1})])
    assert result.state is RunState.COMPLETED, result
    assert [json.loads(one.content) for one in results] == ['called tool_0 {"a": 1}']


async def test_happy_runs_share_a_server_that_ends_with_the_mesh(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with Mesh() as mesh:
        for _ in range(2):
            await calls(mesh, rogue("stubborn", journal), [("tool_0", {})])
    (start,) = [line for line in lines(journal) if line.startswith("start")]
    with pytest.raises(ProcessLookupError):
        os.kill(int(start.split()[1]), 0)


async def test_happy_a_changed_list_is_read_again_by_the_next_run(mesh: Mesh) -> None:
    for number in range(2):
        _, results, _ = await calls(mesh, rogue("changes"), [(f"tool_{number}", {})])
        assert [one.is_error for one in results] == [False], results


async def test_happy_a_server_that_died_is_started_again(mesh: Mesh, tmp_path: Path) -> None:
    config = rogue("dies-once", tmp_path / "journal")
    _, results, _ = await calls(mesh, config, [("tool_0", {})], [("tool_0", {})])
    assert [one.is_error for one in results] == [True, False]
    assert "The next call starts it again" in results[0].content


@pytest.mark.parametrize(
    ("approves", "reply"), [(True, "the user: accept {'it': True}"), (False, "the user: decline None")]
)
async def test_happy_a_question_of_the_server_is_an_approval(mesh: Mesh, approves: bool, reply: str) -> None:
    results: list[str] = []
    async with mesh.run(agent(rogue("elicits"), [("tool_0", {})]), input="go") as run:
        async for update in run.updates():
            if isinstance(update, ApprovalUpdate) and update.state is ApprovalState.REQUESTED:
                assert update.description == "the MCP server asks during tool_0: Sure?"
                await (run.approve(update.call_id) if approves else run.refuse(update.call_id))
            elif isinstance(update, ToolResultUpdate):
                results.append(json.loads(update.content))
    assert results == [reply]


async def test_happy_a_question_that_a_yes_does_not_answer_is_declined(mesh: Mesh) -> None:
    _, results, _ = await calls(mesh, rogue("elicits-name"), [("tool_0", {})])
    assert [json.loads(one.content) for one in results] == ["the user: decline None"]


async def test_happy_a_server_gets_its_variables_and_no_others(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEMESH_SECRET_OF_ANOTHER", "x")
    _, results, _ = await calls(mesh, rogue("variables", env={"MY_KEY": "abc"}), [("tool_0", {})])
    names = json.loads(results[0].content).split()
    assert "MY_KEY" in names
    assert "LANEMESH_SECRET_OF_ANOTHER" not in names


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("odd", "answered tool_0 with something that is not MCP"),
        (
            "dies",
            "exited with code 3. The next call starts it again. The end of its standard error:\\nthe disk is full",
        ),
        ("long", "sent a message of more than 16,777,216 bytes"),
        ("fails", "no such city"),
        ("rejects", "the MCP server rejects the call: the city is missing (code -32602)"),
    ],
)
async def test_error_a_failed_call_is_a_result(mesh: Mesh, mode: str, words: str) -> None:
    result, results, _ = await calls(mesh, rogue(mode), [("tool_0", {})])
    assert result.state is RunState.COMPLETED, result
    assert [one.is_error for one in results] == [True]
    assert words in results[0].content


async def test_error_a_call_that_takes_too_long_is_cancelled(mesh: Mesh, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    _, results, _ = await calls(mesh, rogue("hangs", journal, call_timeout=0.3), [("tool_0", {})])
    assert "did not end within 0.3 s, and was cancelled. Raise config.call_timeout" in results[0].content
    await until(lambda: "cancelled" in lines(journal))


@pytest.mark.parametrize(
    ("config", "reason", "words"),
    [
        pytest.param(
            rogue("mute", start_timeout=0.5),
            "mcp-no-answer",
            "did not answer within 0.5 s of its start",
            marks=pytest.mark.waits,
        ),
        (rogue("exits"), "mcp-refused", "exited with code 4. Check config.command and config.env.*no licence found"),
        (rogue("many"), "mcp-too-many-tools", "lists more than 200 tools. Name those that are wanted in config.tools"),
        (rogue("endless"), "mcp-too-many-tools", "lists more than 200 tools"),
        (rogue("endless", tools=["tool_1"]), "mcp-too-many-tools", "lists more than 10,000 tools"),
        (rogue("plain", tools=["tool_0", "nope"]), "unknown-tool", "has no tool nope; its tools: tool_0"),
        ({"command": ["/nowhere/server"]}, "mcp-not-started", "/nowhere/server cannot be started: .*No such file"),
        (
            {"url": "http://127.0.0.1:1/mcp"},
            "mcp-refused",
            "127.0.0.1:1 cannot be used: .*[Cc]onnect.*Check config.url",
        ),
        ({}, "bad-mcp-config", "neither command nor url is set"),
        ({"command": ["a"], "url": "http://b"}, "bad-mcp-config", "both command and url are set"),
        ({"url": "ftp://b"}, "bad-mcp-config", "does not begin with http"),
    ],
)
async def test_error_a_server_that_cannot_be_used_fails_the_run_before_it_starts(
    mesh: Mesh, config: dict[str, Any], reason: str, words: str
) -> None:
    result, _, _ = await calls(mesh, config, [("tool_0", {})])
    assert result.state is RunState.FAILED
    assert result.error is not None
    assert result.error.reason == reason
    import re

    assert re.search(words, result.error.message, re.DOTALL), result.error.message


async def test_happy_wanted_tools_are_found_in_a_long_list(mesh: Mesh) -> None:
    _, results, _ = await calls(mesh, rogue("many", tools=["tool_4711"]), [("tool_4711", {})])
    assert [one.is_error for one in results] == [False]


async def test_error_a_wrong_token_is_named_and_not_shown(mesh: Mesh) -> None:
    async with over_http(weather(), "a secret") as url:
        config = {"url": url, "headers": {"Authorization": "Bearer something else"}}
        result, _, _ = await calls(mesh, config, [("temperature", {})])
    assert result.error is not None
    assert result.error.reason == "mcp-refused"
    assert "something else" not in str(result.error)
