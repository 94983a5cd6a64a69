"""Secrets in configs appear in no update, no error and no log, embedded and spread."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from lanemesh.client.run_reader import wire_updates
from lanemesh.server.log_format import LineFormatter
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh

from endings import lasting
from rigs.runs import RIGS, chat, ended, line, node, pipeline, response, until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.conformance("RUN-15")]

NODES = RIGS / "secret_nodes.py"
KEY = "sk-\"4f/0ä\\9c' 77"
TOKEN = "tok+8dqe=b6 a2"
PARTS = ("4f/0", "9c' 77", "9c\\' 77", "8dqe", "b6 a2", "b6%20a2")
"""What of them is left if they are written in another form."""

MODES = {
    "raise": "ConnectionError: refused key '***', header Bearer ***",
    "chain": "RuntimeError: no luck",
    "fault": "key '***', header Bearer ***",
    "load": "ConnectionError: refused key '***', header Bearer ***",
    "config": "no such key: ***",
    "finalize": "ConnectionError: refused key '***', header Bearer ***",
}
"""The fault of a run whose node reveals its secrets, by the kind of leak."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def spread_leaks() -> AsyncIterator[Mesh]:
    async with lasting("the spread mesh", Mesh("component", nodes=[NODES], log_level="debug")) as mesh:
        yield mesh


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def embedded_leaks() -> AsyncIterator[Mesh]:
    async with lasting("the embedded mesh", Mesh(nodes=[NODES])) as mesh:
        yield mesh


@pytest.fixture(params=["embedded", "spread"])
def leaky_mesh(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Mesh:
    monkeypatch.setenv("LANEMESH_TEST_TOKEN", TOKEN)
    found: Mesh = request.getfixturevalue(f"{request.param}_leaks")
    return found


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What this process logs, as the command `lanemesh` writes it."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.setLevel(before)
    root.removeHandler(handler)


def leaky(mode: str, **more: Any) -> dict[str, Any]:
    """A node that tells its secrets: one that its schema marks, and a variable within a header."""
    config = {"mode": mode, "api_key": KEY, "header": "Bearer ${LANEMESH_TEST_TOKEN}"}
    return node("leak", "leaky", "chat", **config) | more


def check(*texts: str) -> None:
    for text in texts:
        assert [part for part in (KEY, TOKEN, *PARTS) if part in text] == [], text


def told(updates: list[update_pb2.Update]) -> str:
    """All that is in updates, as it is and as it travels."""
    return "\n".join(f"{update} {update.SerializeToString().decode('latin-1')}" for update in updates)


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("mode", MODES)
async def test_an_error_of_a_node_contains_no_secret(
    mode: str, isolation: str, leaky_mesh: Mesh, logged: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    document = line(leaky(mode, isolation=isolation))
    result, updates = await ended(leaky_mesh.run(document, input="go"))
    assert result.state == "failed"
    assert result.error is not None
    assert MODES[mode] in result.error.message
    output = capsys.readouterr()
    check(told(updates), repr(result), logged.getvalue(), output.out, output.err)
    if mode in ("raise", "chain"):
        assert "secret_nodes.py" in result.error.traceback
        assert "***" in result.error.traceback


@pytest.mark.parametrize("isolation", ["thread", "process"])
async def test_log_lines_of_a_node_contain_no_secret(
    isolation: str,
    leaky_mesh: Mesh,
    logged: io.StringIO,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    result, updates = await ended(leaky_mesh.run(line(leaky("log", isolation=isolation)), input="go"))
    assert result.values == ("done",)
    lines = [update.log.message for update in updates if update.WhichOneof("kind") == "log"]
    assert lines[0] == "refused key '***', header Bearer ***"
    assert lines[1] == "as a mapping: key '***', header Bearer ***"
    assert lines[-1].startswith("and the traceback\nTraceback")
    assert lines[-1].endswith("ConnectionError: key '***', header Bearer ***")
    output = capsys.readouterr()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("lanemesh")]
    check(told(updates), logged.getvalue(), output.out, output.err, *ours)
    everywhere = logged.getvalue() + output.err
    expected = ["leak error: refused key '***', header Bearer ***"]
    if isolation == "thread":
        expected.append("some.library error: GET /?key '***', header Bearer ***")

    def all_came() -> bool:  # what another process logs may come after the run's end
        nonlocal everywhere
        everywhere += capsys.readouterr().err
        return all(text in everywhere for text in expected)

    await until(all_came)
    check(everywhere)


@pytest.mark.parametrize("isolation", ["thread", "process"])
async def test_progress_contains_no_secret(isolation: str, leaky_mesh: Mesh) -> None:
    result, updates = await ended(leaky_mesh.run(line(leaky("progress", isolation=isolation)), input="go"))
    assert result.values == ("done",)
    last = [update.progress.message for update in updates if update.WhichOneof("kind") == "progress"][-1]
    assert last == "x" * 990 + "key '***', header Bearer ***"[:10]
    check(told(updates))


async def test_a_skipped_firing_contains_no_secret(
    leaky_mesh: Mesh, logged: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    result, updates = await ended(leaky_mesh.run(line(leaky("raise", on_error="skip")), input="go"))
    assert result.state == "completed"
    output = capsys.readouterr()
    check(told(updates), logged.getvalue(), output.err)
    assert "ConnectionError: refused key '***', header Bearer ***" in told(updates)


@pytest.mark.parametrize("mode", ["call", "list", "finalize"])
async def test_the_error_of_a_helper_contains_no_secret(
    mode: str, leaky_mesh: Mesh, logged: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"mode": mode, "api_key": KEY, "header": "Bearer ${LANEMESH_TEST_TOKEN}"}
    helper = {
        "id": "tool",
        "provider": "leaky_tool",
        "config": config,
        "control": [{"classType": "tool", "from": "asks"}],
    }
    document = pipeline(chat(), node("asks", "asking", "chat", gossip=KEY), helper, response("asks"))
    result, updates = await ended(leaky_mesh.run(document, input="go"))
    assert result.error is not None
    assert "refused key '***', header Bearer ***" in result.error.message
    output = capsys.readouterr()
    check(told(updates), repr(result), logged.getvalue(), output.out, output.err)
    if mode == "call":
        tools = [update.tool for update in updates if update.WhichOneof("kind") == "tool"]
        events = [tool.WhichOneof("event") for tool in tools]
        assert events == [
            "result",
            "call",
            "thought",
            "result",
        ]  # the last is that of the call, which its node leaves open
        assert tools[2].thought == "***"


async def test_the_fault_of_a_lane_contains_no_secret_at_its_consumer(
    leaky_mesh: Mesh, logged: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that fails may be over before the consumer hears of it, so it fails a few times."""
    document, everywhere = line(leaky("raise"), node("hears", "hears", "leak")), ""
    for _ in range(20):
        result, updates = await ended(leaky_mesh.run(document, input="go"))
        assert result.state == "failed"
        everywhere += capsys.readouterr().err
        check(told(updates), logged.getvalue() + everywhere)
        if "hears error: heard ConnectionError: refused key '***', header Bearer ***" in logged.getvalue() + everywhere:
            return
    raise AssertionError(everywhere)


async def test_an_error_of_unload_contains_no_secret(
    logged: io.StringIO, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANEMESH_TEST_TOKEN", TOKEN)
    async with Mesh(nodes=[NODES]) as mesh:
        for isolation in ("thread", "process"):
            result = await mesh.run(line(leaky("unload", isolation=isolation)), input="go").result()
            assert result.values == ("done",)
    error = capfd.readouterr().err
    for everywhere in (error, logged.getvalue()):
        assert "ConnectionError: refused key '***', header Bearer ***" in everywhere
        check(everywhere)


async def test_a_secret_of_a_setting_appears_nowhere(leaky_mesh: Mesh) -> None:
    result, updates = await ended(
        leaky_mesh.run(line(leaky("raise")), input="go", settings={"leak.api_key": "set-by-hand-3141"})
    )
    assert result.error is not None
    assert "refused key '***'" in result.error.message
    assert "set-by-hand" not in told(updates)


async def test_the_record_of_a_run_contains_no_secret(leaky_mesh: Mesh) -> None:
    """Who reads the run again later gets what was kept of it."""
    run = await leaky_mesh.start(line(leaky("raise")), input="go")
    result = await run.result()
    again, updates = [], wire_updates(leaky_mesh.attach(run.id))
    async for update in updates:
        again.append(update)
    check(repr(result), told(again))


async def test_faults_of_validation_contain_no_secret(leaky_mesh: Mesh) -> None:
    faulty = leaky("nonsense")
    faulty["config"] |= {"api_key": [KEY], "headr": KEY}
    faults = await leaky_mesh.validate(line(faulty), settings={"leak.mode": 5})
    assert len(faults) == 3
    check(str(faults))
