"""Models behind HTTP: the same behaviour in each dialect, with whole answers, broken ones and errors of the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from lanemesh import ChatText, Code, LanemeshError, ToolSpec, Usage
from lanemesh_services.llm import hosted
from lanemesh_services.llm.hosted import ALIVE, HostedEngine, Price
from lanemesh_services.shared import hosted_http
from lanemesh_services.shared.errors import GenerationRefused
from lanemesh_services.shared.hosted_http import retry_after

from rigs.hosted_dialects import DIALECTS, Dialect, Messages
from rigs.hosted_server import HostedServer, Reply, failing, hosted_server

from .turns import ask, request

KEY = "sk-a-secret-of-20-characters"
WEATHER = ToolSpec("weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture
async def server() -> AsyncIterator[HostedServer]:
    async with hosted_server() as server:
        yield server


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    chosen: Dialect = request.param
    return chosen


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "FIRST_PAUSE", 0.01)


async def fault_of(engine: HostedEngine, *texts: str, **settings: Any) -> LanemeshError:
    """The error of a turn."""
    with pytest.raises(LanemeshError) as caught:
        await ask(engine, *(texts or ("hello",)), **settings)
    return caught.value


async def test_an_answer_streams_with_usage_price_and_finish(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply(dialect.answer("Lis", "bon", ".", prompt=1000, completion=200, cached=400)))
    engine = dialect.engine(server.address, price=Price(input=2.0, output=10.0, cached_input=0.5))
    turn = await ask(engine, "Which city?")
    assert turn.texts == ("Lis", "bon", ".")
    assert turn.done.finish_reason == "stop"
    assert turn.done.usage == Usage(1000, 200, (600 * 2.0 + 400 * 0.5 + 200 * 10.0) / 1e6)
    assert engine.active == 0
    await engine.close()


async def test_the_first_piece_arrives_while_the_server_still_writes(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply([*dialect.begin(), dialect.text("Lis")], holds=True))
    engine = dialect.engine(server.address)
    async with aclosing(engine.chat(request("Which city?"))) as events:
        assert await anext(events) == ChatText("Lis")
    await engine.close()


async def test_leaving_an_answer_closes_the_response(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply([*dialect.begin(), dialect.text("Lis")], holds=True))
    engine = dialect.engine(server.address)
    events = engine.chat(request("Which city?"))
    await anext(events)
    await events.aclose()
    async with asyncio.timeout(20):
        await server.disconnected.wait()
    assert engine.active == 0
    await engine.close()


async def test_cancelling_before_the_first_piece_closes_the_response(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply(dialect.begin(), holds=True))
    engine = dialect.engine(server.address)
    asking = asyncio.create_task(ask(engine, "Which city?"))
    await server.holding.wait()
    asking.cancel()
    async with asyncio.timeout(20):
        await server.disconnected.wait()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await engine.close()


async def test_closing_the_engine_ends_a_generation(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply([*dialect.begin(), dialect.text("Lis")], holds=True))
    engine = dialect.engine(server.address)
    asking = asyncio.create_task(fault_of(engine))
    await server.holding.wait()
    await engine.close()
    async with asyncio.timeout(20):
        assert (await asking).fault.reason == "engine-closed"
        await server.disconnected.wait()


async def test_tool_calls_arrive_whole_and_under_their_own_names(server: HostedServer, dialect: Dialect) -> None:
    dotted = ToolSpec("maps.find city", "Finds.")
    calls = [("call_1", "weather", '{"city": "Oslo"}'), ("call_2", "maps_find_city", '{"name": "Bergen"}')]
    server.will(Reply([*dialect.begin(), *dialect.calls(calls), *dialect.end("tool_calls")]))
    engine = dialect.engine(server.address)
    turn = await ask(engine, "Weather?", tools=[WEATHER, dotted])
    assert [(call.name, json.loads(call.arguments)) for call in turn.calls] == [
        ("weather", {"city": "Oslo"}),
        ("maps.find city", {"name": "Bergen"}),
    ]
    assert len({call.id for call in turn.calls}) == 2
    assert turn.done.finish_reason == "tool_calls"
    assert "maps.find city" not in json.dumps(server.asked[0].body)
    await engine.close()


@pytest.mark.parametrize("kind", ["server_tool_use", "mcp_tool_use", "a_new_tool_use"])
async def test_tools_that_the_server_calls_itself_are_no_calls_of_the_answer(server: HostedServer, kind: str) -> None:
    messages = Messages()
    own = messages.calls([("call_1", "weather", '{"city": "Oslo"}')])
    server.will(Reply([*messages.begin(), *messages.server_call(kind), *own, *messages.end("tool_calls")]))
    engine = messages.engine(server.address)
    turn = await ask(engine, "Weather?", tools=[WEATHER])
    assert [(call.name, json.loads(call.arguments)) for call in turn.calls] == [("weather", {"city": "Oslo"})]
    await engine.close()


async def test_an_answer_follows_its_schema(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply(dialect.answer('{"city": ', '"Oslo"}')))
    engine = dialect.engine(server.address)
    assert (await ask(engine, "City?", schema=CITY)).text == '{"city": "Oslo"}'
    assert json.dumps(CITY) in json.dumps(server.asked[0].body)
    server.will(Reply(dialect.answer('{"town": 3}')))
    error = await fault_of(engine, "City?", schema=CITY)
    assert error.fault.reason == "generation-failed"
    await engine.close()


async def test_an_empty_answer_is_an_answer(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply(dialect.answer()))
    engine = dialect.engine(server.address)
    turn = await ask(engine, "hello")
    assert (turn.text, turn.done.finish_reason) == ("", "stop")
    await engine.close()


async def test_an_answer_that_is_cut_off_says_so(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply(dialect.answer("Lis", reason="length")))
    engine = dialect.engine(server.address)
    assert (await ask(engine, "hello")).done.finish_reason == "length"
    await engine.close()


async def test_a_filtered_answer_is_an_error(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply(dialect.answer("Lis", reason="filtered")))
    engine = dialect.engine(server.address)
    assert (await fault_of(engine)).fault.reason == "answer-filtered"
    await engine.close()


async def test_more_stop_texts_than_the_server_takes_still_end_the_answer(
    server: HostedServer, dialect: Dialect
) -> None:
    server.will(Reply(dialect.answer("one two st", "op three")))
    engine = dialect.engine(server.address)
    events = [event async for event in engine.chat(request("hello", stop=("stop", *"ABCDE")))]
    text = "".join(event.text for event in events if isinstance(event, ChatText))
    sent = json.dumps(server.asked[0].body)
    assert text == "one two " or '"stop"' in sent
    await engine.close()


async def test_comments_and_events_without_content_are_skipped(server: HostedServer, dialect: Dialect) -> None:
    noise = [b": keep-alive\n\n", b"\n\n", b": PROCESSING\n\n"]
    begin, end = dialect.begin(), dialect.end("stop")
    server.will(Reply([*noise, *begin, *noise, dialect.text("Oslo"), *noise, *end]))
    engine = dialect.engine(server.address)
    assert (await ask(engine, "hello")).text == "Oslo"
    await engine.close()


async def test_pieces_may_be_split_anywhere(server: HostedServer, dialect: Dialect) -> None:
    whole = b"".join(dialect.answer("Zürich ", "🙂"))
    server.will(Reply([whole[place : place + 1] for place in range(len(whole))]))
    engine = dialect.engine(server.address)
    assert (await ask(engine, "hello")).text == "Zürich 🙂"
    await engine.close()


@pytest.mark.parametrize(
    ("breaking", "cut"),
    [
        ("nothing", False),
        ("begin", False),
        ("line", False),
        ("json", False),
        ("text", True),
        ("html", False),
        ("shape", False),
    ],
)
async def test_a_broken_answer_is_an_error(server: HostedServer, dialect: Dialect, breaking: str, cut: bool) -> None:
    one, end = dialect.text("Lis"), dialect.end("stop")
    pieces = {
        "nothing": [],
        "begin": dialect.begin(),
        "line": [*dialect.begin(), one, end[0][: len(end[0]) // 2]],
        "json": [*dialect.begin(), one, one.replace(b"}", b"", 1), *end],
        "text": [*dialect.begin(), one],
        "html": [b"<html>welcome</html>"],
        "shape": [*dialect.begin(), one, misshapen(one), *end[:0]],
    }[breaking]
    server.will(Reply(pieces, cut=cut))
    engine = dialect.engine(server.address, retries=0)
    error = await fault_of(engine)
    assert (error.fault.reason, error.fault.code) == ("model-answer-broken", Code.UNAVAILABLE)
    assert server.address in error.fault.message
    await engine.close()


def misshapen(event: bytes) -> bytes:
    """An event whose objects are numbers."""
    head, _, data = event.partition(b"data: ")
    value = json.loads(data)
    return (
        head
        + b"data: "
        + json.dumps({key: 7 if isinstance(item, list) else item for key, item in value.items()}).encode()
        + b"\n\n"
    )


@pytest.mark.parametrize(
    ("status", "reason", "asked"),
    [
        (400, "generation-refused", 1),
        (401, "model-key-refused", 1),
        (403, "model-key-refused", 1),
        (404, "model-not-served", 1),
        (429, "model-rate-limited", 3),
        (500, "model-server-failed", 3),
        (503, "model-server-failed", 3),
        (302, "model-server-failed", 1),
    ],
)
async def test_an_error_response_names_server_status_and_remedy(
    server: HostedServer, dialect: Dialect, status: int, reason: str, asked: int
) -> None:
    other = {"location": "http://127.0.0.1:9/elsewhere"} if status == 302 else {}
    server.will(failing(status, dialect.error_body(f"the key {KEY} is\nbad"), **other))
    engine = dialect.engine(server.address, api_key=KEY)
    error = await fault_of(engine)
    assert error.fault.reason == reason
    assert str(status) in error.fault.message
    assert server.address in error.fault.message
    assert KEY not in f"{error.fault}{error!r}{error.__cause__!r}"
    assert "\n" not in error.fault.message
    assert len(server.asked) == asked
    await engine.close()


@pytest.mark.parametrize("body", [b"", b"not json", b"[1, 2]", b'"text"', b"null", b'{"error": 3}', b"x" * 100_000])
async def test_an_error_response_may_have_any_body(server: HostedServer, dialect: Dialect, body: bytes) -> None:
    server.will(Reply([body] if body else [], status=500, headers={"content-type": "application/json"}))
    engine = dialect.engine(server.address, retries=0)
    error = await fault_of(engine)
    assert error.fault.reason == "model-server-failed"
    assert len(error.fault.message) < 1000
    await engine.close()


async def test_a_failure_before_the_first_piece_is_retried(server: HostedServer, dialect: Dialect) -> None:
    server.will(
        failing(503, dialect.error_body("busy")),
        Reply(dialect.begin(), cut=True),
        Reply(dialect.answer("Oslo")),
    )
    engine = dialect.engine(server.address)
    assert (await ask(engine, "hello")).text == "Oslo"
    assert len(server.asked) == 3
    await engine.close()


async def test_an_error_within_the_stream_before_the_first_piece_is_retried(
    server: HostedServer, dialect: Dialect
) -> None:
    server.will(Reply([*dialect.begin(), dialect.error("overloaded")]), Reply(dialect.answer("Oslo")))
    engine = dialect.engine(server.address)
    assert (await ask(engine, "hello")).text == "Oslo"
    await engine.close()


async def test_a_failure_after_the_first_piece_is_not_retried(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply([*dialect.begin(), dialect.text("Lis"), dialect.error("overloaded")]))
    engine = dialect.engine(server.address)
    error = await fault_of(engine)
    assert error.fault.reason == "model-server-failed"
    assert "overloaded" in error.fault.message
    assert len(server.asked) == 1
    await engine.close()


async def test_the_servers_wait_is_kept_and_one_beyond_the_limit_ends_the_request(
    server: HostedServer, dialect: Dialect
) -> None:
    server.will(failing(429, dialect.error_body("slow down"), retry_after="0.05"), Reply(dialect.answer("Oslo")))
    engine = dialect.engine(server.address)
    assert (await ask(engine, "hello")).text == "Oslo"
    server.will(failing(429, dialect.error_body("slow down"), retry_after="60"))
    before = len(server.asked)
    error = await fault_of(engine)
    assert error.retry_after == 60
    assert len(server.asked) == before + 1
    await engine.close()


async def test_retries_of_all_requests_share_a_budget(
    server: HostedServer, dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosted, "MOST_PAUSE", hosted.FIRST_PAUSE)
    server.will(failing(503, dialect.error_body("busy")))
    engine = dialect.engine(server.address, retries=10, retry_seconds=3600)
    for _ in range(4):
        await fault_of(engine)
    assert len(server.asked) == 4 + hosted.BUDGET
    await engine.close()


async def test_silence_ends_a_request_even_with_comments(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply([*dialect.begin(), dialect.text("Lis"), b": keep-alive\n\n"], holds=True))
    engine = dialect.engine(server.address, timeout=0.3)
    error = await fault_of(engine)
    assert (error.fault.reason, error.fault.code) == ("model-server-silent", Code.DEADLINE_EXCEEDED)
    async with asyncio.timeout(20):
        await server.disconnected.wait()
    await engine.close()


async def test_reasoning_and_parts_of_calls_are_parts_of_the_answer(server: HostedServer, dialect: Dialect) -> None:
    parts = [dialect.reasoning("Let me see."), *dialect.calls([("call_1", "weather", '{"city": "Oslo"}')])]
    server.will(Reply([*parts, *dialect.end("tool_calls")]))
    engine = dialect.engine(server.address)
    async with aclosing(engine.attempt(request("Weather?", tools=[WEATHER]), None)) as pieces:
        got = [piece async for piece in pieces]
    assert got.count(ALIVE) >= len(parts)
    await engine.close()


async def test_what_only_keeps_a_connection_is_no_part_of_an_answer(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply([dialect.text("Lis"), *[dialect.keepalive()] * 5, *dialect.end("stop")]))
    engine = dialect.engine(server.address)
    async with aclosing(engine.attempt(request("hello"), None)) as pieces:
        got = [piece async for piece in pieces]
    assert got.count(ALIVE) <= 1 + len(dialect.end("stop"))
    await engine.close()


async def test_a_response_without_end_is_bounded(
    server: HostedServer, dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosted_http, "MAX_RESPONSE_BYTES", 100_000)
    server.will(Reply([*dialect.begin(), dialect.text("Lis"), b"data: " + b"x" * 200_000], holds=True))
    engine = dialect.engine(server.address)
    error = await fault_of(engine)
    assert error.fault.reason == "model-answer-broken"
    assert "100,000 bytes" in error.fault.message
    await engine.close()


async def test_a_server_that_does_not_run_is_an_error(dialect: Dialect) -> None:
    engine = dialect.engine("http://127.0.0.1:9", retries=1)
    error = await fault_of(engine)
    assert error.fault.reason == "model-server-unreachable"
    assert "127.0.0.1:9" in error.fault.message
    await engine.close()


async def test_only_the_key_of_the_config_is_sent(
    server: HostedServer, dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "of-the-environment")
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "of-the-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Secret: of-the-environment")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Secret: of-the-environment")
    server.will(Reply(dialect.answer("Oslo")))
    for key in (KEY, ""):
        engine = dialect.engine(server.address, api_key=key)
        await ask(engine, "hello")
        await engine.close()
        sent = server.asked[-1].headers
        assert sent.get(dialect.key_header) == (dialect.key_prefix + KEY if key else None)
        assert "of-the-environment" not in f"{sent} {server.asked[-1].path}"


async def test_requests_beyond_the_limit_wait(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply(dialect.begin(), holds=True), Reply(dialect.answer("Oslo")))
    engine = dialect.engine(server.address, concurrency=1)
    first = asyncio.create_task(ask(engine, "one"))
    await server.holding.wait()
    second = asyncio.create_task(ask(engine, "two"))
    await asyncio.sleep(0)
    assert (len(server.asked), engine.active) == (1, 2)
    first.cancel()
    assert (await second).text == "Oslo"
    await engine.close()


async def test_connections_are_used_again(server: HostedServer, dialect: Dialect) -> None:
    server.will(Reply(dialect.answer("Oslo")))
    engine = dialect.engine(server.address)
    for _ in range(3):
        await ask(engine, "hello")
    assert server.connections == 1
    await engine.close()


async def test_a_request_out_of_bounds_is_refused_before_it_is_sent(server: HostedServer, dialect: Dialect) -> None:
    engine = dialect.engine(server.address)
    with pytest.raises(GenerationRefused, match="temperature"):
        await ask(engine, "hello", temperature=9.0)
    assert not server.asked
    await engine.close()


def test_retry_after_is_read_in_all_its_forms() -> None:
    assert retry_after({"retry-after-ms": "250"}) == 0.25
    assert retry_after({"retry-after": "3"}) == 3
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert [retry_after({"retry-after": text}) for text in ("", "soon", "-1", "nan")] == [None, None, None, None]
