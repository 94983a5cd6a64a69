"""Which update of a run reaches its log, its deadlock monitor and its verdict."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from lanemesh.faults import Code, Fault
from lanemesh.items import ABSENT, Item
from lanemesh.redaction import NO_SECRETS, Secrets
from lanemesh.server.host.log_lines import log_update
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.pipeline import Graph, ServerAddress
from lanemesh_orchestrator.runs import update_log
from lanemesh_orchestrator.runs.owner_window import CALLER_UPDATES
from lanemesh_orchestrator.runs.update_log import UpdateLog
from lanemesh_orchestrator.runs.update_router import UpdateRouter
from lanemesh_orchestrator.runs.verdict import Verdict

from unit.pipeline.documents import build, component

GRAPH = build(component("c", "chat"), component("r", "response", "questions c", config={"lane": "questions"}))
BROKEN = Fault(code=Code.INTERNAL, reason="broken", message="it broke")


async def never(seconds: float) -> None:
    raise AssertionError("no server is to be asked")


class Rig:
    """A router with all that it routes to."""

    def __init__(self, graph: Graph = GRAPH, *, owned: bool = True, secrets: Secrets = NO_SECRETS) -> None:
        self.log = UpdateLog(owned=owned)
        self.verdict = Verdict("run-1", secrets, never)
        self.observed: list[str | None] = []
        self.router = UpdateRouter("run-1", graph, self.log, self.verdict, self._observe, secrets=secrets, owned=owned)

    def _observe(self, update: update_pb2.Update) -> None:
        self.observed.append(update.WhichOneof("kind"))

    async def kept(self) -> list[update_pb2.Update]:
        """All updates of the log, which is closed by that."""
        self.log.close()
        return [update async for update in self.log.read() if isinstance(update, update_pb2.Update)]


def node(name: str, state: update_pb2.NodeState.ValueType, error: Fault | None = None) -> update_pb2.Update:
    told = update_pb2.NodeUpdate(component=name, state=state)
    if error is not None:
        told.error.CopyFrom(error.to_proto())
    return update_pb2.Update(node=told)


def progress(text: str) -> update_pb2.Update:
    return update_pb2.Update(progress=update_pb2.ProgressUpdate(component="c", message=text))


async def fill(rig: Rig) -> None:
    """As many updates as the owner may be behind."""
    for _ in range(CALLER_UPDATES):
        await rig.router.report(node("c", update_pb2.NODE_STATE_RUNNING))


async def test_states_of_nodes_reach_log_and_monitor_and_their_ends_are_counted() -> None:
    rig = Rig()
    await rig.router.report(node("c", update_pb2.NODE_STATE_COMPLETED))
    assert (rig.router.going, rig.router.all_ended.is_set()) == ({"r"}, False)
    await rig.router.report(node("r", update_pb2.NODE_STATE_SKIPPED))
    assert rig.router.all_ended.is_set()
    assert rig.verdict.may_go_on
    assert rig.observed == ["node", "node"]
    assert [(update.sequence, update.node.component) for update in await rig.kept()] == [(1, "c"), (2, "r")]


async def test_the_fault_of_a_node_reaches_the_verdict() -> None:
    rig = Rig()
    await rig.router.report(node("c", update_pb2.NODE_STATE_FAILED, BROKEN))
    assert rig.verdict.cause == BROKEN


async def test_a_node_that_is_cancelled_counts_as_a_fault_only_while_the_run_goes_on() -> None:
    going, ending = Rig(), Rig()
    await going.router.report(node("c", update_pb2.NODE_STATE_CANCELLED))
    ending.verdict.add(BROKEN)
    await ending.router.report(node("c", update_pb2.NODE_STATE_CANCELLED))
    assert going.verdict.cause is not None
    assert (going.verdict.cause.reason, going.verdict.cause.secondary) == ("cancelled", True)
    assert ending.verdict.cause == BROKEN
    await going.verdict.conclude()


@pytest.mark.parametrize("make", [lambda rig: rig.router.report(progress("half")), lambda rig: delivered(rig, "x")])
async def test_progress_and_outputs_wait_for_the_reader(make: Callable[[Rig], object]) -> None:
    rig = Rig()
    await fill(rig)
    waiting = asyncio.ensure_future(make(rig))  # type: ignore[call-overload]
    await asyncio.sleep(0)
    assert rig.log.last == CALLER_UPDATES
    async for _ in rig.log.read():
        if rig.log.last > CALLER_UPDATES:
            break
    await waiting


async def delivered(rig: Rig, value: object) -> None:
    await rig.router.capacity()
    rig.router.deliver("r", "", "text", Item(value, 1))


async def test_outputs_are_counted_but_for_those_without_a_value() -> None:
    rig = Rig()
    for value in ("x", ABSENT, "y"):
        await delivered(rig, value)
    assert rig.router.output_count == 2
    assert [update.output.item.text for update in await rig.kept()] == ["x", "", "y"]


async def test_unread_log_lines_are_dropped_and_counted_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_log, "MAX_OPTIONAL_UPDATES", 100)
    rig = Rig(owned=False)
    lines = update_log.MAX_OPTIONAL_UPDATES + 3
    for number in range(lines):
        await rig.router.report(log_update("c", logging.INFO, f"line {number}"))
    rig.router.close(update_pb2.JobUpdate(state=update_pb2.RUN_STATE_COMPLETED))
    *_, notice, last = await rig.kept()
    assert notice.log.message == "3 log lines were dropped: too many at once"
    assert (last.job.run_id, last.job.state, rig.log.closed) == ("run-1", update_pb2.RUN_STATE_COMPLETED, True)
    assert rig.observed == []


async def test_secrets_are_taken_out_of_what_hosts_report() -> None:
    rig = Rig(secrets=Secrets(["hush-hush"]))
    await rig.router.report(progress("with hush-hush"))
    assert [update.progress.message for update in await rig.kept()] == ["with ***"]


async def test_counts_of_components_that_are_placed_again_go_on() -> None:
    rig = Rig()
    edge = GRAPH.edges[0]
    await rig.router.report(update_pb2.Update(edge=update_pb2.EdgeUpdate(edge_id=edge.id, sent=5, consumed=5)))
    rig.router.placed_again([edge.producer, edge.consumer])
    await rig.router.report(update_pb2.Update(edge=update_pb2.EdgeUpdate(edge_id=edge.id, sent=1, consumed=1)))
    assert [(update.edge.sent, update.edge.consumed) for update in await rig.kept()] == [(5, 5), (6, 6)]


@pytest.mark.parametrize(("trace", "warned"), [("none", 0), ("summary", 1)])
async def test_a_server_that_cannot_trace_is_warned_of_where_traces_are_wanted(trace: str, warned: int) -> None:
    rig = Rig(replace(GRAPH, trace=trace))
    rig.router.warn_of_untraced({"c": ServerAddress("old", "", features=frozenset())})
    updates = await rig.kept()
    assert len(updates) == warned
    assert all('"old" lacks the feature "traces"' in update.log.message for update in updates)


def tool(component: str, **event: object) -> update_pb2.Update:
    return update_pb2.Update(tool=update_pb2.ToolUpdate(component=component, wave=2, **event))  # type: ignore[arg-type]


async def test_calls_of_a_component_that_has_ended_get_a_result() -> None:
    rig = Rig()
    for name in ("a", "b", "c"):
        await rig.router.report(tool("c", call={"id": name, "name": f"tool_{name}"}))
    await rig.router.report(tool("c", result={"call_id": "a", "content_json": "1"}))
    await rig.router.report(tool("r", call={"id": "b", "name": "other"}))
    rig.router.node_ended("c")
    rig.router.close(update_pb2.JobUpdate(state=update_pb2.RUN_STATE_FAILED))

    *updates, last = await rig.kept()

    found = [(one.tool.component, one.tool.wave, one.tool.result) for one in updates if one.tool.HasField("result")]
    assert [(component, wave, result.call_id) for component, wave, result in found] == [
        *(("c", 2, name) for name in ("a", "b", "c")),
        ("r", 2, "b"),
    ]
    assert [result.is_error for *_, result in found] == [False, True, True, True]
    assert [result.name for *_, result in found] == ["", "tool_b", "tool_c", "other"]
    assert last.WhichOneof("kind") == "job"
