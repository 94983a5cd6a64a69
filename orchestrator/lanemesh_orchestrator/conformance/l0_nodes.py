"""L0 of nodes: several edges at one port, failed firings that are dropped or retried, peers of other versions, early ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from lanemesh.faults import Code
from lanemesh.v1 import lane_pb2, node_pb2

from lanemesh_orchestrator.conformance.checks import QUIET_SECONDS, Skip, check, expect
from lanemesh_orchestrator.conformance.driver import Driver
from lanemesh_orchestrator.conformance.frames import code_name, fault_shown, faults_shown
from lanemesh_orchestrator.conformance.hosting import HostCall
from lanemesh_orchestrator.conformance.l0_host import CANCEL_SECONDS, COMPLETED, FAILED
from lanemesh_orchestrator.conformance.neighbour import TakenLane
from lanemesh_orchestrator.conformance.places import LIMIT, NODE, instance, opening, place

RULE = "Nodes"
STREAMS = 100
"""Streams that a connection has to carry at least."""


@check("L0", "fan-in", "An input ends when all of its edges have ended.", rule=RULE)
async def fan_in(driver: Driver) -> None:
    driver.needs("conformance_count")
    run_id, host, out = driver.run_id(), driver.host(), driver.edge_out()
    edges = [driver.edge_in(id=f"before.out>node.text#{number}") for number in range(3)]
    await host.place_well(place(run_id, instance("conformance_count"), *edges, out))
    await host.connect()
    lane = await driver.neighbour.lane(run_id, out.id)
    await lane.accept(LIMIT)
    await host.connected_well()
    given = [driver.lane() for _ in edges]
    for one, edge in zip(given, edges, strict=True):
        await one.open(opening(run_id, edge))
    await host.start()
    for one in given:
        await asyncio.sleep(QUIET_SECONDS / 3)
        expect(lane.sent == 0, "no count before the last edge has ended", f"{lane.sent} items")
        await one.texts(*"ab")
        await one.end()
    (item,) = await lane.drained()
    expect(item.text == "6", 'the text "6"', item.text)
    lane.finish()
    await host.finished_well()


async def _fan_out(driver: Driver, run_id: str, host: HostCall, count: int) -> list[TakenLane]:
    """A started source with two lanes from one output."""
    driver.needs("conformance_source")
    edges = [driver.edge_out(id=f"node.out>after.text#{number}", limit=4) for number in range(2)]
    await host.place_well(place(run_id, instance("conformance_source", config={"count": count}), *edges))
    await host.connect()
    lanes = [await driver.neighbour.lane(run_id, edge.id) for edge in edges]
    for lane in lanes:
        await lane.accept(4)
    await host.connected_well()
    await host.start()
    return lanes


@check("L0", "fan-out", "Each lane of an output gets each item; the slowest one sets the pace.", rule=RULE)
async def fan_out(driver: Driver) -> None:
    run_id, host = driver.run_id(), driver.host()
    quick, slow = await _fan_out(driver, run_id, host, 10)
    await slow.items(4)
    await quick.items(4)
    await quick.credit(4, 4)
    await asyncio.sleep(QUIET_SECONDS)
    expect(quick.sent <= 5, "at most one item ahead of the lane without credit", f"{quick.sent} items beside 4")
    await slow.credit(4, 64)
    await quick.credit(4, 64)
    for lane in (quick, slow):
        texts = [item.text for item in await lane.drained()]
        expect(texts == [str(number) for number in range(4, 10)], "the texts 4 to 9", texts)
        lane.finish()
    await host.finished_well()


@check("L0", "fan-out-stopped", "A lane that was stopped is left out; the others go on.", rule=RULE)
async def fan_out_stopped(driver: Driver) -> None:
    run_id, host = driver.run_id(), driver.host()
    stopped, other = await _fan_out(driver, run_id, host, 10)
    await stopped.items(4)
    await stopped.stop()
    end = await stopped.ended()
    expect(end.item_count == 4, "`end` with item_count 4", end.item_count)
    stopped.finish()
    await other.credit(4, 64)
    texts = [item.text for item in await other.drained()]
    expect(texts == [str(number) for number in range(10)], "the texts 0 to 9", texts)
    other.finish()
    await host.ended_as(NODE, COMPLETED)
    await host.finished_well()


@check("L0", "many-lanes", "A hundred lanes on one connection make progress.", rule="Timings and limits")
async def many_lanes(driver: Driver) -> None:
    driver.needs("conformance_count")
    run_id, host, out = driver.run_id(), driver.host(), driver.edge_out()
    edges = [driver.edge_in(id=f"before.out>node.text#{number}") for number in range(STREAMS - 10)]
    await host.place_well(place(run_id, instance("conformance_count"), *edges, out))
    await host.connect()
    lane = await driver.neighbour.lane(run_id, out.id)
    await lane.accept(LIMIT)
    await host.connected_well()
    channel = driver.new_channel()
    given = [driver.lane(channel) for _ in edges]
    for one, edge in zip(given, edges, strict=True):
        await one.open(opening(run_id, edge))
    await host.start()
    for one in given:
        await one.texts("a")
    for one in given:
        await one.end()
    (item,) = await lane.drained()
    expect(item.text == str(len(edges)), f'the text "{len(edges)}"', item.text)
    lane.finish()
    await host.finished_well()


async def _with_on_error(
    driver: Driver, on_error: node_pb2.OnError, texts: Sequence[str]
) -> tuple[HostCall, TakenLane]:
    """A run of `conformance_fail` with these inputs. Raises Skip if the server reports that it lacks the setting."""
    driver.needs("conformance_fail")
    run_id, host = driver.run_id(), driver.host()
    edges = [driver.edge_in(), driver.edge_out()]
    faults = await host.place(place(run_id, instance("conformance_fail", on_error=on_error), *edges))
    if faults and all(fault.code == Code.UNIMPLEMENTED and fault.reason == "missing-feature" for fault in faults):
        raise Skip("the server reports that it lacks on_error")
    expect(not faults, "`placed` without faults, or UNIMPLEMENTED missing-feature", faults_shown(faults))
    run = await driver.wire(run_id, host, edges)
    await host.start()
    await run.input.texts(*texts)
    await run.input.end()
    return host, run.output


@check("L0", "on-error-skip", "With on_error skip a failed firing is dropped and counted.", rule=RULE)
async def on_error_skip(driver: Driver) -> None:
    policy = node_pb2.OnError(policy=node_pb2.OnError.POLICY_SKIP)
    host, lane = await _with_on_error(driver, policy, ["a", "fail", "b"])
    texts = [item.text for item in await lane.drained()]
    expect(texts == ["a", "b"], 'the texts "a" and "b"', texts)
    lane.finish()
    node = await host.ended_as(NODE, COMPLETED)
    expect(node.skipped_firings == 1, "skipped_firings 1", node.skipped_firings)
    await host.finished_well()


@check("L0", "on-error-retry", "With on_error retry a failed firing is repeated, then the node fails.", rule=RULE)
async def on_error_retry(driver: Driver) -> None:
    policy = node_pb2.OnError(policy=node_pb2.OnError.POLICY_RETRY, attempts=3, backoff=Duration(nanos=10_000_000))
    host, lane = await _with_on_error(driver, policy, ["a", "fail", "b"])
    texts = [item.text for item in await lane.drained()]
    expect(texts == ["a"], 'the text "a"', texts)
    lane.finish()
    node = await host.ended_as(NODE, FAILED)
    expect(not node.error.secondary, "a primary fault", fault_shown(node.error))
    expect(node.retried_firings == 2, "retried_firings 2", node.retried_firings)


@check("L0", "other-version", "Peers of protocol version 0 and 2 are treated alike.", rule="Features")
async def other_version(driver: Driver) -> None:
    driver.needs("conformance_count")
    for version in (0, 2):
        run_id, host, edges = driver.run_id(), driver.host(), [driver.edge_in(), driver.edge_out()]
        part = place(run_id, instance("conformance_count"), *edges)
        part.protocol_version = version
        await host.place_well(part)
        await host.connect()
        lane = await driver.neighbour.lane(run_id, edges[1].id)
        await lane.accept(LIMIT)
        await host.connected_well()
        given = driver.lane()
        await given.open(opening(run_id, edges[0], protocol_version=version))
        await host.start()
        await given.end()
        await lane.drained()
        lane.finish()
        await host.finished_well()


@check("L0", "cancel-connected", "`cancel` before `start` ends the open lanes with CANCELLED.", rule="Host")
async def cancel_connected(driver: Driver) -> None:
    driver.needs("conformance_source")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_out()
    await host.place_well(place(run_id, instance("conformance_source"), edge))
    run = await driver.wire(run_id, host, [edge])
    await host.run_cancel()
    end = await run.output.ended(CANCEL_SECONDS)
    expect(end.outcome.code == Code.CANCELLED, "`end` with CANCELLED", code_name(end.outcome.code))
    expect(end.item_count == 0, "item_count 0", end.item_count)
    run.output.finish()


@check("L0", "cancel-connecting", "A half-close while lanes are being opened ends the run at once.", rule="Host")
async def cancel_connecting(driver: Driver) -> None:
    driver.needs("conformance_source")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_out()
    await host.place_well(place(run_id, instance("conformance_source"), edge))
    await host.connect()
    lane = await driver.neighbour.lane(run_id, edge.id)
    await host.half_close()
    await host.status(seconds=CANCEL_SECONDS)
    lane.finish()
    again = driver.host()
    await again.place_well(place(run_id, instance("conformance_source"), edge))


@check(
    "L0", "lane-after-cancel", "A lane of a run that is over is refused with NOT_FOUND.", rule="Exchange: the consumer"
)
async def lane_after_cancel(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        await run.input.end()
        await run.output.drained()
        run.output.finish()
        await run.host.finished_well()
        await run.host.half_close()
        await run.host.status()
        lane = driver.lane()
        await lane.send(lane_pb2.ExchangeRequest(open=opening(run.id, run.edges[0])))
        code = await lane.status()
        expect(code.name == "NOT_FOUND", "NOT_FOUND", await lane.described())
