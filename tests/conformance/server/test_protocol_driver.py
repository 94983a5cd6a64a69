"""`lanemesh conformance`: our own node server passes every check, and wrong servers are caught."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from lanemesh import codec, value_codec
from lanemesh.faults import Fault, LanemeshError
from lanemesh.features import FEATURES
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.edge import Edge
from lanemesh.lanes.recovery.replaying_sender import ReplayingSender
from lanemesh.lanes.transport import grpc_sender, intake
from lanemesh.lanes.transport.credit_writer import CreditWriter
from lanemesh.lanes.transport.frames import next_frame
from lanemesh.lanes.transport.grpc_receiver import GrpcReceiver
from lanemesh.lanes.transport.grpc_sender import GrpcSender
from lanemesh.lanes.transport.intake import Intake
from lanemesh.node.join.lineage import LaneTags
from lanemesh.node.outputs import Outputs
from lanemesh.node.runtime.actor import Actor, State
from lanemesh.server.host import host, host_session, hosted_run, reporting
from lanemesh.server.host.host import NodeHost
from lanemesh.server.host.hosted_run import HostedRun
from lanemesh.server.host.recovery import CommitTracker
from lanemesh.server.host.reporting import RunReporter
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh_orchestrator.cli.app import main
from lanemesh_orchestrator.cli.commands import conformance
from lanemesh_orchestrator.cli.commands.conformance import nodes_path
from lanemesh_orchestrator.conformance.checks import CHECKS
from lanemesh_orchestrator.conformance.runner import Result, Verdict, missed, run_checks

from rigs.bare_server import bare_server

Patch = pytest.MonkeyPatch

QUIET = ("lanemesh", "grpc._common")
"""The loggers that are silent while the server of this package is tested."""


@asynccontextmanager
async def served() -> AsyncIterator[NodeServer]:
    """A node server with the node types of the test."""
    server = NodeServer(NodeHost([load_file(nodes_path())], name="tested"))
    await server.start()
    yield server
    await server.stop()


async def test_our_node_server_passes_every_check() -> None:
    async with served() as server:
        results = await run_checks(server.address, slow=False)
        async with asyncio.timeout(10):
            await server.host.idle.wait()  # nothing of the checks is left
        assert not server.host.warm
    assert not missed(results), missed(results)
    skipped = {result.check.id for result in results if result.verdict is Verdict.SKIPPED}
    unknown = {check.id for check in CHECKS if check.feature and check.feature not in FEATURES}
    assert skipped == {check.id for check in CHECKS if check.slow} | unknown


async def test_a_server_is_tested_up_to_a_level_and_by_its_features() -> None:
    async with served() as server:
        server.host.features = frozenset()
        lowest = await run_checks(server.address, level="L0", only=["describe", "group", "join"], slow=False)
        by_features = await run_checks(server.address, only=["join", "keep-warm"], slow=False)
        demanded = await run_checks(server.address, level="L3", only=["join"], slow=False)
    assert {result.check.level for result in lowest} == {"L0"}
    assert {result.detail for result in by_features} == {
        "the server does not report the feature joins",
        "the server does not report the feature preload",
    }
    assert missed(demanded)


@dataclass(frozen=True)
class Mutant:
    """A server that is wrong in one respect."""

    wrong: str
    """What is wrong with it, as an id of the test."""
    check: str
    """The check that catches it."""
    change: Callable[[Patch], None]
    waits: bool
    """Whether the check sees it by a time limit alone."""


MUTANTS: list[Mutant] = []


def mutant(check: str, *, waits: bool = False) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Registers a change that makes a wrong server."""

    def register(change: Callable[[Patch], None]) -> Callable[[Patch], None]:
        MUTANTS.append(Mutant(change.__name__, check, change, waits))
        return change

    return register


def wrap(patch: Patch, owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Replaces a function by `around`, which gets it before its arguments."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **kwargs: around(original, *args, **kwargs))


@mutant("credit-is-taken")
def grants_credit_for_items_that_only_arrived(patch: Patch) -> None:
    def credit(original: Any, writer: Any) -> Any:
        sent = original(writer)
        sent.taken_items = writer._edge.arrived
        return sent

    def view(original: Any, writer: Any) -> Any:
        return original(writer)._replace(taken=writer._edge.arrived)

    wrap(patch, CreditWriter, "_credit", credit)
    wrap(patch, CreditWriter, "_view", view)


@mutant("window")
def sends_more_than_its_window(patch: Patch) -> None:
    def on_frame(original: Any, sender: Any, response: Any) -> None:
        original(sender, response)
        sender._ceiling += 3

    wrap(patch, GrpcSender, "_on_frame", on_frame)


@mutant("life")
def counts_one_item_too_many(patch: Patch) -> None:
    def end(original: Any, sender: Any) -> Any:
        sent = original(sender)
        sent.item_count += 1
        return sent

    wrap(patch, GrpcSender, "_end", end)


@mutant("start-not-connected")
def starts_a_run_without_lanes(patch: Patch) -> None:
    patch.setattr(HostedRun, "can_start", True)


@mutant("start-twice", waits=True)
def ignores_a_second_start(patch: Patch) -> None:
    async def fail(run: Any, fault: Fault) -> None:
        """Goes on."""

    patch.setattr(HostedRun, "fail", fail)


@mutant("connect-twice", waits=True)
def opens_lanes_at_each_connect(patch: Patch) -> None:
    async def connect(original: Any, run: HostedRun) -> Any:
        faults = await original(run)
        run.phase = hosted_run.Phase.PLACED
        return faults

    wrap(patch, HostedRun, "connect", connect)


@mutant("liar-count")
def believes_any_count(patch: Patch) -> None:
    def end(original: Any, intake: Any, ended: Any) -> Any:
        ended.item_count = intake.received
        return original(intake, ended)

    wrap(patch, Intake, "end", end)


@mutant("liar-no-end")
def takes_a_half_close_for_an_end(patch: Patch) -> None:
    patch.setattr(GrpcReceiver, "_lost", lambda receiver, code, why: receiver._edge.end())


@mutant("open-twice")
def accepts_a_second_lane(patch: Patch) -> None:
    def accept(original: Any, run: Any, *args: Any) -> Any:
        run._lanes._accepted.clear()
        return original(run, *args)

    wrap(patch, HostedRun, "accept", accept)


@mutant("open-wrong-type")
def accepts_a_lane_of_another_type(patch: Patch) -> None:
    def accept(original: Any, run: Any, opening: Any, refuse: Any) -> Any:
        known = run._lanes.types.get(opening.edge_id)
        if known is not None:
            opening.lane_type = known.wire
        return original(run, opening, refuse)

    wrap(patch, HostedRun, "accept", accept)


@mutant("open-unknown-run")
def refuses_lanes_without_their_names(patch: Patch) -> None:
    def refused(original: Any, *args: Any) -> LanemeshError:
        return LanemeshError(replace(original(*args).fault, details={}))

    wrap(patch, host, "_refused", refused)


@mutant("liar-frame")
def takes_the_first_items_of_a_wrong_frame(patch: Patch) -> None:
    patch.setattr(
        intake, "read_items", lambda lane_type, items, chunks: (codec.decode(lane_type, item) for item in items.items)
    )


@mutant("consumer-cancels")
def passes_on_the_status_of_a_broken_call(patch: Patch) -> None:
    wrap(
        patch, GrpcSender, "_lost", lambda original, sender, code, why: replace(original(sender, code, why), code=code)
    )


@mutant("count-empty")
def skips_nodes_that_read_their_own_inputs(patch: Patch) -> None:
    async def run(original: Any, actor: Any) -> Any:
        outcome = await original(actor)
        empty = not any(edge.arrived for edge in actor.inbox.edges())
        return replace(outcome, state=State.SKIPPED) if empty else outcome

    wrap(patch, Actor, "run", run)


@mutant("running")
def reports_without_the_time(patch: Patch) -> None:
    patch.setattr(reporting, "stamp", lambda time: None)


@mutant("fails")
def reports_consequences_as_causes(patch: Patch) -> None:
    patch.setattr(Fault, "as_secondary", lambda fault, **details: replace(fault, details={**fault.details, **details}))


@mutant("finish-after-lanes")
def finishes_before_its_lanes_are_closed(patch: Patch) -> None:
    async def closed(outputs: Outputs) -> None:
        return None

    patch.setattr(Outputs, "closed", closed)


@mutant("place-missing-feature")
def ignores_features_that_it_lacks(patch: Patch) -> None:
    patch.setattr(host_session, "unsupported", lambda needed, features: [])


@mutant("place-all-faults")
def reports_the_first_fault_alone(patch: Patch) -> None:
    async def place(original: Any, run: Any) -> Any:
        return (await original(run))[:1]

    wrap(patch, HostedRun, "place", place)


@mutant("node-states")
def reports_the_end_of_a_node_twice(patch: Patch) -> None:
    async def node(original: Any, reporter: Any, *args: Any) -> None:
        await original(reporter, *args)
        if len(args) > 2:
            await original(reporter, *args)

    wrap(patch, RunReporter, "node", node)


@mutant("group-kept")
def loses_groups(patch: Patch) -> None:
    def encode(original: Any, envelope: Any, message: Any) -> None:
        original(replace(envelope, group=None), message)

    wrap(patch, codec, "_encode_envelope", encode)


@mutant("probe-blocked")
def never_changes_the_version_of_its_waits(patch: Patch) -> None:
    def probed(original: Any, *args: Any) -> Any:
        answer = original(*args)
        for actor in answer.actors:
            actor.version = 1
        return answer

    wrap(patch, hosted_run, "probed", probed)


@mutant("grow")
def lowers_limits(patch: Patch) -> None:
    def grow(edge: Edge, limit_items: int, limit_bytes: int) -> None:
        edge.limit_items, edge.limit_bytes = limit_items, limit_bytes
        edge.notify()

    patch.setattr(Edge, "grow", grow)


@mutant("frames")
def sends_frames_of_any_size(patch: Patch) -> None:
    patch.setattr(grpc_sender, "next_frame", lambda lane_type, queue, most: next_frame(lane_type, queue, 100_000))


@mutant("chunks")
def loses_the_second_chunk(patch: Patch) -> None:
    def take_chunk(original: Any, intake: Any, content: bytes) -> None:
        if not intake._chunks:
            original(intake, content)

    wrap(patch, Intake, "take_chunk", take_chunk)


@mutant("values")
def reads_integers_as_floats(patch: Patch) -> None:
    for module in (codec, value_codec):
        patch.setattr(module, "load_json", lambda text: json.loads(text, parse_int=float))
    patch.setitem(codec._DECODE, LaneType.DATA, lambda item: json.loads(item.data_json, parse_int=float))


@mutant("fork-numbers")
def numbers_from_one(patch: Patch) -> None:
    def init(original: Any, tags: Any, *args: Any) -> None:
        original(tags, *args)
        tags._sent = 1

    wrap(patch, LaneTags, "__init__", init)


@mutant("acknowledged")
def acknowledges_what_it_has_only_processed(patch: Patch) -> None:
    patch.setattr(CommitTracker, "_committed", lambda tracker, number: tracker._edges[number].processed)


@mutant("replay")
def replays_from_the_beginning(patch: Patch) -> None:
    def call_to(original: Any, sender: Any, edge: Any) -> Any:
        sender._base = 0
        return original(sender, edge)

    wrap(patch, ReplayingSender, "_call_to", call_to)


@pytest.mark.parametrize(
    "wrong",
    [pytest.param(one, id=one.wrong, marks=[pytest.mark.waits] if one.waits else []) for one in MUTANTS],
)
async def test_a_wrong_server_is_caught(wrong: Mutant, monkeypatch: Patch) -> None:
    wrong.change(monkeypatch)
    async with served() as server:
        results = await run_checks(server.address, only=[wrong.check], slow=False)
    caught: list[Result] = [result for result in missed(results) if result.check.id == wrong.check]
    assert caught, f"{wrong.check} did not catch a server that {wrong.wrong.replace('_', ' ')}"
    assert caught[0].expected
    assert caught[0].came


def test_the_exit_code_is_that_of_the_checks(monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger("lanemesh").level
    assert main(["conformance", "--quick", "--check", "life"]) == 0
    assert logging.getLogger("lanemesh").level == before  # log lines are hidden only while servers are tested
    assert "life-echo" in capsys.readouterr().out
    counts_one_item_too_many(monkeypatch)
    assert main(["conformance", "--quick", "--check", "life", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["passed"]
    assert report["checks"][0]["expected"] == "`end` with item_count 5"
    assert report["checks"][0]["came"] == "6"


def test_the_levels_of_loggers_are_restored_after_the_test_of_our_server(
    monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in QUIET:
        caplog.set_level(logging.INFO, logger=name)
    during: list[int] = []

    async def stopped(*_: object, **__: object) -> list[Result]:
        during.extend(logging.getLogger(name).level for name in QUIET)
        raise RuntimeError("a check cannot be run")

    monkeypatch.setattr(conformance, "run_checks", stopped)
    with pytest.raises(RuntimeError, match="cannot be run"):
        conformance.conformance(conformance.ConformanceOptions(quick=True))
    assert during == [logging.CRITICAL] * len(QUIET)
    assert [logging.getLogger(name).level for name in QUIET] == [logging.INFO] * len(QUIET)


def test_a_server_that_cannot_be_reached_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "127.0.0.1:1", "--quick"]) == 1
    assert "does not answer Describe" in capsys.readouterr().err


async def test_an_answer_that_a_check_cannot_read_is_a_miss_and_the_others_go_on(monkeypatch: Patch) -> None:
    def manifests(original: Any, host: Any) -> Any:
        found = original(host)
        for manifest in found:
            for port in manifest.inputs:
                port.lane_type = 99
        return found

    wrap(monkeypatch, NodeHost, "manifests", manifests)
    async with served() as server:
        first, second = await run_checks(server.address, only=["describe"], slow=False)
    assert first.verdict is Verdict.MISSED
    assert "cannot read" in first.came
    assert second.verdict is Verdict.PASSED


async def test_a_server_without_the_sdk_has_level_0() -> None:
    one_by_one = {"many-items", "frames"}  # thousands of items, of which that server sends each in a frame of its own
    checks = [check.id for check in CHECKS if check.level == "L0" and check.id not in one_by_one]
    async with bare_server() as address:
        results = await run_checks(address, only=checks, slow=False)
    assert not missed(results), missed(results)
    skipped = {result.check.id for result in results if result.verdict is Verdict.SKIPPED and not result.check.slow}
    assert skipped == {"values", "chunks", "liar-json", "lane-key", "on-error-skip", "on-error-retry"}
