"""L0 of a lane's producer: credit, stop, end, and consumers that lie or are lost."""

from __future__ import annotations

import asyncio

import grpc
from lanemesh.faults import Code
from lanemesh.v1 import fault_pb2, lane_pb2, update_pb2

from lanemesh_orchestrator.conformance.checks import QUIET_SECONDS, check, expect
from lanemesh_orchestrator.conformance.driver import Driver
from lanemesh_orchestrator.conformance.frames import fault_shown, faults_shown
from lanemesh_orchestrator.conformance.hosting import CANCEL_SECONDS, COMPLETED, FAILED, HostCall
from lanemesh_orchestrator.conformance.places import NODE, NODE_ERROR, instance, place

MANY = {"count": 100_000}
MAX_FRAME_ITEMS = 256
MAX_FRAME_BYTES = 256 * 1024


@check(
    "L0",
    "window",
    "The producer sends no more than the window, and further items with credit.",
    rule="Exchange: the producer",
)
async def window(driver: Driver) -> None:
    async with driver.run("conformance_source", {"count": 100}, window=4) as run:
        lane = run.output
        await lane.items(4)
        await asyncio.sleep(QUIET_SECONDS)
        expect(lane.sent == 4, "4 items without credit", f"{lane.sent} items")
        await lane.credit(1, 4)
        await lane.items(1)
        await asyncio.sleep(QUIET_SECONDS)
        expect(lane.sent == 5, "5 items with taken_items 1", f"{lane.sent} items")
        await lane.credit(5, 4)
        await lane.items(4)
        await run.host.run_cancel()


@check(
    "L0", "window-of-edge", "`accepted` decides, also with another limit than the edge.", rule="Exchange: the producer"
)
async def window_of_edge(driver: Driver) -> None:
    async with driver.run("conformance_source", MANY, limit=64, window=3) as run:
        await run.output.items(3)
        await asyncio.sleep(QUIET_SECONDS)
        expect(run.output.sent == 3, "3 items, the limit of `accepted`", f"{run.output.sent} items")
        await run.host.run_cancel()


@check("L0", "window-grows", "A greater limit_items in `credit` permits more items.", rule="Exchange: the producer")
async def window_grows(driver: Driver) -> None:
    async with driver.run("conformance_source", MANY, window=2) as run:
        await run.output.items(2)
        await run.output.credit(0, 6)
        await run.output.items(4)
        await asyncio.sleep(QUIET_SECONDS)
        expect(run.output.sent == 6, "6 items with limit_items 6", f"{run.output.sent} items")
        await run.host.run_cancel()


@check("L0", "limit-never-shrinks", "A smaller limit_items in `credit` has no effect.", rule="Exchange: the producer")
async def limit_never_shrinks(driver: Driver) -> None:
    async with driver.run("conformance_source", MANY, window=6) as run:
        await run.output.items(6)
        await run.output.credit(6, 1)
        await run.output.items(6)
        await run.host.run_cancel()


@check("L0", "frames", "Items that wait share a frame, of at most 256 items.", rule="Exchange: the producer")
async def frames(driver: Driver) -> None:
    async with driver.run("conformance_source", {"count": 5000}, limit=1024) as run:
        items = await run.output.drained(window=1024)
        expect(len(items) == 5000, "5,000 items", len(items))
        largest = max(run.output.frame_sizes)
        expect(largest <= MAX_FRAME_ITEMS, f"frames of at most {MAX_FRAME_ITEMS} items", largest)
        end = await run.output.ended()
        expect(end.item_count == 5000, "`end` with item_count 5000", end.item_count)
        run.output.finish()
        await run.host.finished_well()


@check("L0", "frame-bytes", "A frame has at most 256 KiB, or one larger item alone.", rule="Exchange: the producer")
async def frame_bytes(driver: Driver) -> None:
    async with driver.run("conformance_echo", limit=32) as run:
        text = "x" * 100_000
        await run.input.texts(*[text] * 8)
        await run.input.end()
        seen: list[int] = []
        while (frame := await run.output.frame("items and `end`")) is not None:
            if frame.HasField("items"):
                seen.append(frame.ByteSize())
                alone = len(frame.items.items) == 1
                expect(alone or seen[-1] <= MAX_FRAME_BYTES, f"frames of at most {MAX_FRAME_BYTES:,} bytes", seen[-1])
        expect(sum(seen) > 800_000, "eight texts", f"{sum(seen)} bytes")
        run.output.finish()
        await run.host.finished_well()


@check(
    "L0",
    "stopped",
    "After `stop` the producer sends `end` with its count and half-closes.",
    rule="Exchange: the producer",
)
async def stopped(driver: Driver) -> None:
    async with driver.run("conformance_source", MANY, window=4) as run:
        lane = run.output
        await lane.items(4)
        await lane.stop()
        end = await lane.ended()
        expect(end.item_count == 4, "`end` with item_count 4, the items sent", end.item_count)
        expect(not end.outcome.code, "`end` without a fault", fault_shown(end.outcome))
        await asyncio.sleep(QUIET_SECONDS)
        expect(not run.host.of("finished"), "no `finished` before the OK of the lane", "`finished`")
        lane.finish()
        await run.host.ended_as(NODE, COMPLETED)
        await run.host.finished_well()


@check("L0", "stopped-by-fault", "`stop` with a fault fails the producer's node, as a consequence.", rule="Faults")
async def stopped_by_fault(driver: Driver) -> None:
    async with driver.run("conformance_source", MANY, window=4) as run:
        lane = run.output
        await lane.items(4)
        fault = fault_pb2.Fault(code=Code.UNKNOWN, reason=NODE_ERROR, message="the consumer broke", secondary=True)
        await lane.stop("it failed", fault)
        await lane.ended()
        lane.finish()
        node = await run.host.ended_as(NODE, FAILED)
        right = node.error.secondary and node.error.code == Code.UNKNOWN
        expect(right, "the fault of the consumer, secondary", fault_shown(node.error))
        faults = await run.host.finished()
        expect(all(one.secondary for one in faults), "`finished` without a primary fault", faults_shown(faults))


@check("L0", "stop-after-end", "`stop` after `end` is ignored.", rule="Exchange: the producer")
async def stop_after_end(driver: Driver) -> None:
    async with driver.run("conformance_source", {"count": 2}) as run:
        await run.output.items(2)
        await run.output.ended()
        await run.output.stop()
        run.output.finish()
        await run.host.ended_as(NODE, COMPLETED)
        await run.host.finished_well()


@check(
    "L0", "consumer-lost", "A consumer that breaks the call fails the producer's node with UNAVAILABLE.", rule="Faults"
)
async def consumer_lost(driver: Driver) -> None:
    async with driver.run("conformance_source", MANY, window=4) as run:
        await run.output.items(4)
        run.output.finish(grpc.StatusCode.UNAVAILABLE)
        await _broken(run.host)


@check(
    "L0",
    "consumer-cancels",
    "A call that its consumer ends with CANCELLED is UNAVAILABLE.",
    rule="Exchange: the producer",
)
async def consumer_cancels(driver: Driver) -> None:
    async with driver.run("conformance_source", MANY, window=4) as run:
        await run.output.items(4)
        run.output.finish(grpc.StatusCode.CANCELLED)
        await _broken(run.host)
        await run.host.ended_as(NODE, FAILED)


async def _broken(host: HostCall) -> None:
    faults = await host.finished(CANCEL_SECONDS)
    came = faults_shown(faults)
    broken = [fault for fault in faults if fault.reason == "lane-broken" and fault.secondary]
    right = broken and all(fault.code == Code.UNAVAILABLE for fault in broken)
    expect(right, "`finished` with a secondary fault UNAVAILABLE lane-broken", came)
    expect(all(fault.secondary for fault in faults), "no primary fault", came)


@check(
    "L0",
    "early-ok",
    "A consumer that ends the call with OK before `end` breaks the lane.",
    rule="Exchange: the producer",
)
async def early_ok(driver: Driver) -> None:
    async with driver.run("conformance_source", MANY, window=4) as run:
        await run.output.items(4)
        run.output.finish()
        await _broken(run.host)


@check(
    "L0",
    "broken-after-end",
    "A call that breaks after `end` and before its OK is a fault of `finished`.",
    rule="Exchange: the producer",
)
async def broken_after_end(driver: Driver) -> None:
    async with driver.run("conformance_source", {"count": 2}) as run:
        await run.output.items(2)
        await run.output.ended()
        run.output.finish(grpc.StatusCode.UNAVAILABLE)
        await _broken(run.host)


@check(
    "L0",
    "garbage-response",
    "Bytes that are not a frame break the lane, and no other run.",
    rule="Exchange: the producer",
)
async def garbage_response(driver: Driver) -> None:
    async with driver.run("conformance_source", MANY, window=4) as run, driver.run("conformance_echo") as other:
        await run.output.items(4)
        await run.output.send(b"\x12\xff\xff\xff\xff\x0f")
        await run.host.finished(CANCEL_SECONDS)
        run.output.finish()
        await other.input.texts("a")
        await other.output.items(1)


@check("L0", "unknown-response", "Heartbeats and frames that it does not know are ignored.", rule="Levels")
async def unknown_response(driver: Driver) -> None:
    async with driver.run("conformance_source", {"count": 4}, window=2) as run:
        await run.output.items(2)
        await run.output.send(lane_pb2.ExchangeResponse())
        await run.output.send(b"\xf2\x1f\x03abc")
        await run.output.credit(2, 2)
        await run.output.items(2)
        await run.output.ended()
        run.output.finish()
        await run.host.finished_well()


@check(
    "L0",
    "accept-silence",
    "A consumer that does not accept within 10 s is a fault of `connected`.",
    rule="Timings and limits",
    slow=True,
)
async def accept_silence(driver: Driver) -> None:
    driver.needs("conformance_source")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_out()
    await host.place_well(place(run_id, instance("conformance_source"), edge))
    await host.connect()
    lane = await driver.neighbour.lane(run_id, edge.id)
    faults = await host.connected(15)
    lane.finish()
    right = len(faults) == 1 and faults[0].code == Code.DEADLINE_EXCEEDED
    expect(right, "one fault DEADLINE_EXCEEDED of `connected`", faults_shown(faults))


@check(
    "L0",
    "heartbeat",
    "An idle stream carries an empty frame after 20 s, in both directions.",
    rule="Timings and limits",
    slow=True,
)
async def heartbeat(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        await asyncio.sleep(31)
        expect(run.host.heartbeats, "an empty frame on the idle Host stream", "none within 31 s")
        expect(run.input.heartbeats, "an empty frame on the idle lane to the server", "none within 31 s")
        expect(run.output.heartbeats, "an empty frame on the idle lane of the server", "none within 31 s")


@check("L0", "node-states", "Each node reports exactly one end.", rule="Updates")
async def node_states(driver: Driver) -> None:
    async with driver.run("conformance_source", {"count": 3}) as run:
        await run.output.drained()
        run.output.finish()
        await run.host.finished_well()
        ends = run.host.ends(NODE)
        expect(
            len(ends) == 1,
            "one update with the end of the node",
            [update_pb2.NodeState.Name(end.state) for end in ends],
        )
