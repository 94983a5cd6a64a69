"""The audit log: a line for each act of a client, with who, what and how it ended, and without what it was about."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import grpc.aio
import pytest
from lanemesh import Client
from lanemesh._grpc.status import abort
from lanemesh.client.updates import ApprovalState, ApprovalUpdate
from lanemesh.faults import Fault, LanemeshError
from lanemesh_orchestrator import audit
from lanemesh_orchestrator.audit import AuditFile, audit_log, write_audit_log
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.runs import NODES, RIGS, Pipeline, chat, line, node, pipeline, response
from rigs.runs import serving as joined

APPROVALS = RIGS / "approval_nodes.py"
TAG = line(node("a", "tag", "chat"))
SECRET = "hunter2-of-the-input"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A file that gets the acts of a test."""
    path = tmp_path / "audit.log"
    write_audit_log(path)
    yield path
    for handler in list(audit_log.handlers):
        audit_log.removeHandler(handler)
        handler.close()
    audit_log.setLevel(logging.WARNING)
    audit_log.propagate = True


@pytest.fixture
async def mesh(file: Path) -> AsyncIterator[Client]:
    """A client of an orchestrator with an audit log."""
    orchestrator = Orchestrator(embedded=True, nodes=[NODES, APPROVALS])
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        yield client
    await orchestrator.close()


def acts(file: Path) -> list[dict[str, Any]]:
    """The lines of the log."""
    return [json.loads(text) for text in text_of(file).splitlines()]


def text_of(file: Path) -> str:
    """All of the log."""
    return file.read_text()


def mode_of(file: Path) -> int:
    """Who may read it."""
    return file.stat().st_mode & 0o777


def asking() -> Pipeline:
    return pipeline(chat(), node("ask", "careful", "chat"), response({"lane": "text", "from": "ask"}))


async def test_each_act_has_a_line_with_its_outcome(file: Path, mesh: Client) -> None:
    owned = mesh.run(TAG, input=SECRET)
    await owned.result()
    detached = await mesh.start(TAG, input=SECRET)
    await detached.result()
    await mesh.deploy("tagging", TAG)
    await mesh.run("@tagging", input=SECRET).result()
    held = await mesh.start(TAG, open_input=True)
    await held.cancel("because of " + SECRET)
    await held.result()
    await mesh.undeploy("tagging")
    with pytest.raises(LanemeshError):
        await mesh.undeploy("tagging")
    with pytest.raises(LanemeshError):
        await mesh.start(line(node("a", "no_such_type", "chat")), input="x")

    found = acts(file)
    assert [(act["method"].split(".")[1], act["outcome"], act.get("deployment", "")) for act in found] == [
        ("Run", "OK", ""),
        ("StartRun", "OK", ""),
        ("Deploy", "OK", "tagging"),
        ("Run", "OK", "tagging"),
        ("StartRun", "OK", ""),
        ("CancelRun", "OK", ""),
        ("Undeploy", "OK", "tagging"),
        ("Undeploy", "NOT_FOUND", "tagging"),
        ("StartRun", "INVALID_ARGUMENT", ""),
    ]
    assert [act["run"] for act in found if "run" in act][:2] == [owned.id, detached.id]
    assert found[5]["run"] == held.id
    assert found[7]["reason"] == "unknown-deployment"
    assert all(act["peer"].startswith("ipv4:127.0.0.1:") and act["caller"] == "" for act in found)
    assert [act["time"] for act in found] == sorted(act["time"] for act in found)
    assert SECRET not in text_of(file)
    assert mode_of(file) == 0o600


async def test_decisions_name_the_run_and_what_was_decided(file: Path, mesh: Client) -> None:
    async with mesh.run(asking(), input=SECRET) as run:
        async for update in run.updates():
            if isinstance(update, ApprovalUpdate) and update.state is ApprovalState.REQUESTED:
                await run.refuse("c1", "not today")
    assert [(act["run"], act["call"], act["approved"]) for act in acts(file) if "approved" in act] == [
        (run.id, "c1", False)
    ]
    assert "not today" not in text_of(file)


async def test_a_server_that_joins_and_a_session_that_is_deleted_are_acts(file: Path) -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with joined(orchestrator, "one") as server, Client(orchestrator.address) as client:
        with pytest.raises(LanemeshError):
            await client.session(SECRET).delete()
        address = server.address
    await orchestrator.close()
    join, deletion = acts(file)
    assert (join["method"], join["server"], join["address"]) == ("RegistryService.Register", "one", address)
    assert (deletion["method"], deletion["outcome"]) == ("SessionService.DeleteSession", "NOT_FOUND")
    assert deletion["session"].startswith("sha256:")
    assert SECRET not in text_of(file)


async def test_names_of_clients_are_bounded_and_stay_on_their_line(file: Path, mesh: Client) -> None:
    with pytest.raises(LanemeshError):
        await mesh.undeploy('x\n{"caller": "somebody else"}' + "y" * 5000)
    (act,) = acts(file)
    assert len(act["deployment"]) <= audit.MAX_TEXT + 3


async def test_a_failed_act_is_in_the_log_before_its_caller_gets_the_fault(
    file: Path, mesh: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []

    async def answering(context: grpc.aio.ServicerContext[Any, Any], fault: Fault) -> NoReturn:
        logged.extend(act["outcome"] for act in acts(file))
        await abort(context, fault)

    monkeypatch.setattr(audit, "abort", answering)
    with pytest.raises(LanemeshError):
        await mesh.undeploy("nothing")
    with pytest.raises(LanemeshError):
        await mesh.start("@nothing", input="x")
    assert logged == ["NOT_FOUND"] * 3


async def test_a_call_that_is_left_is_an_act_as_well(file: Path, mesh: Client) -> None:
    before = asyncio.create_task(mesh.deploy("slow", line(node("a", "tag", "chat"))))
    await asyncio.sleep(0)
    before.cancel()
    await asyncio.gather(before, return_exceptions=True)
    await mesh.deploy("next", TAG)
    assert {act["outcome"] for act in acts(file)} <= {"OK", "CANCELLED"}


async def test_without_a_file_nothing_is_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="lanemesh")
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        await client.run(TAG, input="x").result()
    await orchestrator.close()
    assert [entry for entry in caplog.records if entry.name == "lanemesh.audit"] == []


def test_the_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_FILE_BYTES", 1000)
    handler = AuditFile(tmp_path / "audit.log")
    for number in range(200):
        handler.emit(logging.LogRecord("x", logging.INFO, "", 0, f"{number:090}", (), None))
    handler.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 1 + audit.MAX_OLD_FILES
    assert all(file.stat().st_size <= 1000 for file in files)
    assert (tmp_path / "audit.log").read_text().splitlines()[-1].endswith("199")


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LanemeshError, match=r"cannot be written.*Choose another --audit-log FILE") as caught:
        write_audit_log(tmp_path / "missing" / "audit.log")
    assert caught.value.fault.reason == "bad-audit-log"


def test_a_full_disk_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    handler = AuditFile(tmp_path / "audit.log")
    assert handler.stream is not None
    handler.stream.close()
    handler.stream = open("/dev/full", "w")  # noqa: SIM115 - the handler closes it
    for _ in range(3):
        handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "a line", (), None))
    assert len([entry for entry in caplog.records if "acts are missing" in entry.getMessage()]) == 1
    handler.stream = open("/dev/null", "w")  # noqa: SIM115
    handler.close()
