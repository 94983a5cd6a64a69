"""L0 of a run from its start: how it finishes, fails and is cancelled."""

from __future__ import annotations

import asyncio

from lanemesh.faults import Code
from lanemesh.v1 import fault_pb2, lane_pb2, node_pb2, update_pb2

from lanemesh_orchestrator.conformance.checks import QUIET_SECONDS, Miss, Skip, check, expect
from lanemesh_orchestrator.conformance.driver import Driver
from lanemesh_orchestrator.conformance.frames import code_name, fault_shown, faults_shown, shown
from lanemesh_orchestrator.conformance.hosting import (
    CANCEL_SECONDS,
    CANCELLED,
    COMPLETED,
    FAILED,
    SKIPPED,
    HostCall,
    coded,
)
from lanemesh_orchestrator.conformance.neighbour import TakenLane
from lanemesh_orchestrator.conformance.places import NODE, NODE_ERROR, instance, opening, place


@check("L0", "life", "A source sends its items and `end`; its state, then `finished` follow.", rule="Host")
async def life(driver: Driver) -> None:
    async with driver.run("conformance_source", {"count": 5}) as run:
        items = await run.output.drained()
        end = await run.output.ended()
        texts = [item.text for item in items]
        expect(texts == ["0", "1", "2", "3", "4"], "the texts 0 to 4", texts)
        expect(end.item_count == 5, "`end` with item_count 5", end.item_count)
        expect(not end.outcome.code, "`end` without a fault", fault_shown(end.outcome))
        run.output.finish()
        await run.host.ended_as(NODE, COMPLETED)
        await run.host.finished_well()


@check("L0", "life-echo", "A node takes items of one lane and sends its own on another one.", rule="Host")
async def life_echo(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        await run.input.texts("a", "b", "")
        await run.input.end()
        texts = [item.text for item in await run.output.drained()]
        expect(texts == ["a", "b", ""], 'the texts "a", "b" and ""', texts)
        await run.output.ended()
        run.output.finish()
        await run.host.ended_as(NODE, COMPLETED)
        await run.host.finished_well()
        code = await run.input.status()
        expect(code.name == "OK", "the status OK of the incoming lane", await run.input.described())


@check("L0", "running", "After `start` an update reports that each node is running.", rule="Updates")
async def running(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:

        def is_running() -> bool:
            nodes = [update.node for update in run.host.of("update") if update.HasField("node")]
            return any(node.component == NODE and node.state == update_pb2.NODE_STATE_RUNNING for node in nodes)

        await run.host.until(is_running, f"an update with {NODE} RUNNING")
        updates = run.host.of("update")
        expect(all(update.HasField("time") for update in updates), "`time` in each update", updates)


@check("L0", "two-components", "Components of one server are joined without a call.", rule="Host")
async def two_components(driver: Driver) -> None:
    driver.needs("conformance_count")
    inner = node_pb2.Edge(
        id="source.out>node.text",
        producer="source",
        output="out",
        consumer=NODE,
        input="text",
        lane_type=lane_pb2.LANE_TYPE_TEXT,
        limit_items=4,
        limit_bytes=65536,
        producer_server="tested",
        consumer_server="tested",
    )
    edge, run_id, host = driver.edge_out(), driver.run_id(), driver.host()
    parts = (instance("conformance_source", "source", {"count": 100}), instance("conformance_count"), inner, edge)
    await host.place_well(place(run_id, *parts))
    run = await driver.wire(run_id, host, [edge])
    await host.start()
    texts = [item.text for item in await run.output.drained()]
    expect(texts == ["100"], 'the text "100"', texts)
    run.output.finish()
    await host.ended_as("source", COMPLETED)
    await host.ended_as(NODE, COMPLETED)
    await host.finished_well()


@check("L0", "finish-after-lanes", "`finished` waits until its lanes are closed by their consumers.", rule="Host")
async def finish_after_lanes(driver: Driver) -> None:
    async with driver.run("conformance_source", {"count": 1}) as run:
        await run.output.drained()
        await run.output.ended()
        await asyncio.sleep(QUIET_SECONDS)
        expect(not run.host.of("finished"), "no `finished` before the OK of the lane", "`finished`")
        run.output.finish()
        await run.host.finished_well()


@check("L0", "skipped", "A node whose required input ends without an item is skipped.", rule="Nodes")
async def skipped(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        await run.input.end()
        end = await run.output.ended()
        expect(not end.outcome.code and end.item_count == 0, "a clean `end` with 0 items", end)
        run.output.finish()
        await run.host.ended_as(NODE, SKIPPED)
        await run.host.finished_well()


@check("L0", "count-empty", "A node that reads its own inputs is not skipped.", rule="Nodes")
async def count_empty(driver: Driver) -> None:
    async with driver.run("conformance_count") as run:
        await run.input.end()
        texts = [item.text for item in await run.output.drained()]
        expect(texts == ["0"], 'the text "0"', texts)
        run.output.finish()
        await run.host.ended_as(NODE, COMPLETED)
        await run.host.finished_well()


@check(
    "L0",
    "fails",
    "A failed node reports its fault, and ends its lanes with it in both directions.",
    rule="Faults",
)
async def fails(driver: Driver) -> None:
    async with driver.run("conformance_fail") as run:
        await run.input.texts("a", "fail")
        items = await run.output.drained()
        end = await run.output.ended()
        run.output.finish()
        expect([item.text for item in items] == ["a"], 'the text "a"', items)
        expect(end.outcome.code, "`end` with the fault", "`end` without a fault")
        expect(end.outcome.secondary, "a secondary fault in `end`", fault_shown(end.outcome))
        stop = await run.input.stopped()
        expect(stop.fault.code, "`stop` with the fault", "`stop` without a fault")
        expect(stop.fault.secondary, "a secondary fault in `stop`", fault_shown(stop.fault))
        await run.input.end()
        node = await run.host.ended_as(NODE, FAILED)
        expect(not node.error.secondary, "a primary fault of the node", fault_shown(node.error))
        expect(node.error.details["component"] == NODE, f"the detail component {NODE}", dict(node.error.details))
        faults = await run.host.finished()
        primary = [fault for fault in faults if not fault.secondary]
        expect(len(primary) == 1, "`finished` with one primary fault", faults_shown(faults))


@check("L0", "producer-failed", "A node whose input ends with a fault fails by it, as a consequence.", rule="Faults")
async def producer_failed(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        await run.input.texts("a")
        await run.output.items(1)
        fault = fault_pb2.Fault(code=Code.UNKNOWN, reason=NODE_ERROR, message="it broke", secondary=True)
        await run.input.end(outcome=fault)
        end = await run.output.ended()
        run.output.finish()
        right = end.outcome.code == Code.UNKNOWN and end.outcome.secondary
        expect(right, "`end` with the same code, secondary", fault_shown(end.outcome))
        node = await run.host.ended_as(NODE, FAILED)
        expect(node.error.secondary, "a secondary fault of the node", fault_shown(node.error))
        faults = await run.host.finished()
        expect(all(fault.secondary for fault in faults), "`finished` without a primary fault", faults_shown(faults))


@check("L0", "cancel", "`cancel` ends a node in its work: its lanes, its state CANCELLED, `finished`.", rule="Host")
async def cancel(driver: Driver) -> None:
    async with driver.run("conformance_slow", {"milliseconds": 60_000}) as run:
        await run.input.texts("a")
        await asyncio.sleep(QUIET_SECONDS)
        await run.host.run_cancel()
        await _cancelled(run.host, run.output)


async def _cancelled(host: HostCall, lane: TakenLane) -> None:
    end = await lane.ended(CANCEL_SECONDS)
    lane.finish()
    expect(end.outcome.code == Code.CANCELLED, "`end` with CANCELLED", code_name(end.outcome.code))
    await host.ended_as(NODE, CANCELLED, seconds=CANCEL_SECONDS)
    faults = await host.finished(CANCEL_SECONDS)
    expect(all(fault.secondary for fault in faults), "`finished` without a primary fault", faults_shown(faults))


@check("L0", "cancel-blocked", "`cancel` ends a node that waits for capacity.", rule="Host")
async def cancel_blocked(driver: Driver) -> None:
    async with driver.run("conformance_source", {"count": 1_000_000}, window=2) as run:
        await run.output.items(2)
        await run.host.run_cancel()
        await _cancelled(run.host, run.output)


@check("L0", "cancel-before-start", "A run that was not started ends with its stream.", rule="Host")
async def cancel_before_start(driver: Driver) -> None:
    driver.needs("conformance_echo")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_in()
    await host.place_well(place(run_id, instance("conformance_echo"), edge, driver.edge_out()))
    await host.half_close()
    await host.status(seconds=CANCEL_SECONDS)
    await _forgotten(driver, run_id, edge)


async def _forgotten(driver: Driver, run_id: str, edge: node_pb2.Edge) -> None:
    """Raises Miss unless the run is not hosted any more within the time of a cancellation."""
    loop = asyncio.get_running_loop()
    until = loop.time() + CANCEL_SECONDS
    while True:
        lane = driver.lane()
        await lane.send(lane_pb2.ExchangeRequest(open=opening(run_id, edge)))
        frame = await lane.next("an answer to `open`")
        if frame is None and (await lane.status()).name == "NOT_FOUND":
            return
        came = shown(frame) if frame is not None else await lane.described()
        if loop.time() > until:
            raise Miss("NOT_FOUND for a lane of a run that has ended", came)
        lane.cancel()
        await asyncio.sleep(0.05)


@check("L0", "half-close", "A half-close by the orchestrator cancels the run.", rule="Host")
async def half_close(driver: Driver) -> None:
    async with driver.run("conformance_slow", {"milliseconds": 60_000}) as run:
        await run.input.texts("a")
        await asyncio.sleep(QUIET_SECONDS)
        await run.host.half_close()
        end = await run.output.ended(CANCEL_SECONDS)
        run.output.finish()
        expect(end.outcome.code == Code.CANCELLED, "`end` with CANCELLED", code_name(end.outcome.code))
        await run.host.status(seconds=CANCEL_SECONDS)
        await _forgotten(driver, run.id, run.edges[0])


@check("L0", "lost-orchestrator", "A broken Host call cancels the run, which may then be placed again.", rule="Host")
async def lost_orchestrator(driver: Driver) -> None:
    async with driver.run("conformance_slow", {"milliseconds": 60_000}) as run:
        await run.input.texts("a")
        await asyncio.sleep(QUIET_SECONDS)
        run.host.cancel()
        end = await run.output.ended(CANCEL_SECONDS)
        run.output.finish()
        expect(end.outcome.code == Code.CANCELLED, "`end` with CANCELLED", code_name(end.outcome.code))
        await _forgotten(driver, run.id, run.edges[0])
        again = driver.host()
        await again.place_well(place(run.id, instance("conformance_slow"), *run.edges))


@check("L0", "lane-not-opened", "`start` before each incoming lane is open is a fault of `finished`.", rule="Host")
async def lane_not_opened(driver: Driver) -> None:
    driver.needs("conformance_sink")
    host, edge = driver.host(), driver.edge_in()
    await host.place_well(place(driver.run_id(), instance("conformance_sink"), edge))
    await host.connect()
    await host.connected_well()
    await host.start()
    faults = await host.finished(CANCEL_SECONDS)
    expect(len(faults) == 1, "one fault of `finished`", faults_shown(faults))
    coded(faults[0], Code.FAILED_PRECONDITION, "lane-not-opened", "a fault of `finished`")
    expect(faults[0].details["lane"] == edge.id, f"the detail lane {edge.id}", dict(faults[0].details))


@check("L0", "timeout", "A firing that takes longer than the timeout of its instance fails.", rule="Nodes")
async def timeout(driver: Driver) -> None:
    from google.protobuf.duration_pb2 import Duration

    fields = {"timeout": Duration(nanos=200_000_000)}
    async with driver.run("conformance_slow", {"milliseconds": 60_000}, fields=fields) as run:
        await run.input.texts("a")
        await run.output.ended(CANCEL_SECONDS)
        run.output.finish()
        node = await run.host.ended_as(NODE, FAILED)
        is_deadline = node.error.code == Code.DEADLINE_EXCEEDED
        expect(is_deadline and not node.error.secondary, "a primary DEADLINE_EXCEEDED", fault_shown(node.error))


@check(
    "L0", "host-unknown-frames", "Heartbeats and frames of levels that it lacks do not disturb a run.", rule="Levels"
)
async def host_unknown_frames(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        await run.host.send(
            node_pb2.HostRequest(),
            b"\xf2\x1f\x03abc",  # field 510, which no version has
            node_pb2.HostRequest(grow=node_pb2.Grow(edge_id="no-such-edge", limit_items=9)),
            node_pb2.HostRequest(decide=node_pb2.ApprovalDecision(component="no-such-component", call_id="1")),
            node_pb2.HostRequest(reroute=node_pb2.Reroute(ended_edges=["no-such-edge"])),
            node_pb2.HostRequest(release_helpers=node_pb2.ReleaseHelpers()),
        )
        await run.input.texts("a")
        await run.input.end()
        await run.output.drained()
        await run.output.ended()
        run.output.finish()
        await run.host.ended_as(NODE, COMPLETED)
        await run.host.finished_well()


@check("L0", "runs-apart", "Runs of one server do not mix.", rule="Host")
async def runs_apart(driver: Driver) -> None:
    async with driver.run("conformance_echo") as one, driver.run("conformance_echo") as other:
        await one.input.texts("one")
        await other.input.texts("other")
        await one.host.run_cancel()
        came = [item.text for item in await other.output.items(1)]
        expect(came == ["other"], 'the text "other"', came)
        await one.host.finished(CANCEL_SECONDS)
        one.output.finish()
        await other.input.texts("more")
        await other.output.items(1)


@check(
    "L0",
    "host-ends",
    "After `finished` the stream ends, or is ready for the `place` of another run.",
    rule="Host",
)
async def host_ends(driver: Driver) -> None:
    async with driver.run("conformance_source") as run:
        await run.output.drained()
        run.output.finish()
        await run.host.finished_well()
        await run.host.half_close()
        code = await run.host.status("the end of the stream after the half-close")
        expect(code.name == "OK", "the status OK of the Host call", await run.host.described())


@check("L0", "many-runs", "Fifty runs one after the other leave nothing behind.", rule="Host")
async def many_runs(driver: Driver) -> None:
    if "conformance_source" not in driver.manifests:
        raise Skip("the server does not offer conformance_source")
    for _ in range(50):
        async with driver.run("conformance_source", {"count": 2}) as run:
            await run.output.drained()
            run.output.finish()
            await run.host.finished_well()
