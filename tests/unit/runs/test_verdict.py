"""Which faults end a run, which of them is its cause, and in which state it ends."""

from __future__ import annotations

import asyncio

import pytest
from lanemesh.faults import Code, Fault
from lanemesh.redaction import NO_SECRETS, Secrets
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.runs import verdict as verdicts
from lanemesh_orchestrator.runs.verdict import Verdict

PRIMARY = Fault(code=Code.INTERNAL, reason="broken", message="it broke")
LANE = Fault(code=Code.ABORTED, reason="lane-broken", message="a lane broke", secondary=True)
LOST = Fault(code=Code.UNAVAILABLE, reason="server-lost", message="a server is gone", secondary=True)
COMPLETED, FAILED, CANCELLED = (
    update_pb2.RUN_STATE_COMPLETED,
    update_pb2.RUN_STATE_FAILED,
    update_pb2.RUN_STATE_CANCELLED,
)


class Probes:
    """Notes for how long servers were asked; they answer once `answered` is set."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.begun = asyncio.Event()
        self.answered = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        self.begun.set()
        await self.answered.wait()


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Probes:
    monkeypatch.setattr(verdicts, "PRIMARY_SECONDS", 0.0)
    return Probes()


@pytest.fixture
def verdict(probes: Probes) -> Verdict:
    return Verdict("run-1", NO_SECRETS, probes)


async def test_a_run_without_faults_completes(verdict: Verdict) -> None:
    assert verdict.may_go_on
    await verdict.conclude()
    assert (verdict.state, verdict.cause, verdict.reason) == (COMPLETED, None, "")


async def test_a_primary_fault_ends_the_run_at_once_and_the_first_is_the_cause(verdict: Verdict) -> None:
    later = Fault(code=Code.INTERNAL, reason="broken", message="it broke later")
    verdict.add(PRIMARY, later)
    assert verdict.stopping.is_set()
    assert not verdict.may_go_on
    assert (verdict.state, verdict.cause) == (FAILED, PRIMARY)


async def test_a_secondary_fault_waits_for_the_primary_one_until_all_servers_have_answered(
    verdict: Verdict, probes: Probes
) -> None:
    verdict.add(LANE)
    assert (verdict.is_failing, verdict.may_go_on, verdict.stopping.is_set()) == (True, False, False)
    await probes.begun.wait()
    assert not verdict.stopping.is_set()
    verdict.add(LANE)
    probes.answered.set()
    await verdict.stopping.wait()
    assert probes.asked == [verdicts.SILENT_SECONDS]
    assert (verdict.state, verdict.cause) == (FAILED, LANE)


async def test_a_primary_fault_that_comes_late_is_the_cause(verdict: Verdict) -> None:
    verdict.add(LANE)
    verdict.add(LOST)
    assert verdict.cause == LOST
    verdict.add(PRIMARY)
    assert verdict.stopping.is_set()
    assert verdict.cause == PRIMARY
    await verdict.conclude()


async def test_the_fault_of_a_lane_is_found_by_its_reason(verdict: Verdict) -> None:
    kept, other = (
        Fault(code=Code.UNAVAILABLE, reason=reason, message="m", details={"lane": "a>b"}, secondary=True)
        for reason in ("not-kept", "lane-broken")
    )
    verdict.add(LANE, other, kept)
    assert verdict.lane_fault("not-kept", {"a>b", "a>c"}) == kept
    assert verdict.lane_fault("not-kept", {"a>c"}) is None
    await verdict.conclude()


async def test_a_run_whose_servers_cannot_be_asked_ends_with_its_secondary_fault(
    probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(seconds: float) -> None:
        raise OSError("no socket is left")

    verdict = Verdict("run-1", NO_SECRETS, broken)
    verdict.add(LANE)
    async with asyncio.timeout(60):
        await verdict.stopping.wait()
    await verdict.conclude()
    assert (verdict.state, verdict.cause) == (FAILED, LANE)
    assert "no socket is left" in caplog.text


async def test_what_fails_after_a_cancellation_is_its_consequence(verdict: Verdict) -> None:
    assert verdict.cancel("nobody needs it")
    assert not verdict.cancel("another reason")
    verdict.add(PRIMARY)
    assert (verdict.state, verdict.cause, verdict.reason) == (CANCELLED, None, "nobody needs it")


async def test_a_cancellation_after_a_fault_changes_nothing(verdict: Verdict) -> None:
    verdict.add(PRIMARY)
    assert not verdict.cancel("too late")
    assert (verdict.state, verdict.cause, verdict.reason) == (FAILED, PRIMARY, "")


async def test_secrets_are_taken_out(probes: Probes) -> None:
    failed, cancelled = (Verdict("run-1", Secrets(["hush-hush"]), probes) for _ in range(2))
    failed.add(Fault(code=Code.INTERNAL, reason="broken", message="no entry with hush-hush"))
    cancelled.cancel("hush-hush")
    assert failed.cause is not None
    assert (failed.cause.message, cancelled.reason) == ("no entry with ***", "***")


async def test_an_ended_run_waits_for_no_primary_fault(verdict: Verdict, probes: Probes) -> None:
    before = asyncio.all_tasks()
    verdict.add(LANE)
    await verdict.conclude()
    verdict.add(LANE)
    assert asyncio.all_tasks() == before
    assert verdict.cause == LANE


async def test_work_ends_with_its_result_or_when_the_run_has_to_end(verdict: Verdict) -> None:
    async def answer() -> str:
        return "done"

    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
            return "never"
        finally:
            cancelled.set()

    assert await verdict.unless_stopping(answer()) == "done"
    hanging = asyncio.create_task(verdict.unless_stopping(hang()))
    await begun.wait()
    verdict.add(PRIMARY)
    assert await hanging is None
    assert cancelled.is_set()
    begun.clear()
    assert await verdict.unless_stopping(hang()) is None
    assert not begun.is_set()


async def test_an_error_of_work_is_raised(verdict: Verdict) -> None:
    async def fail() -> None:
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        await verdict.unless_stopping(fail())
