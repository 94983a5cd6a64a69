"""L6: runs that start with fewer messages."""

from __future__ import annotations

import asyncio

from lanemesh.v1 import lane_pb2, node_pb2, update_pb2

from lanemesh_orchestrator.conformance.calls import StreamCall
from lanemesh_orchestrator.conformance.checks import QUIET_SECONDS, check, expect
from lanemesh_orchestrator.conformance.driver import Driver
from lanemesh_orchestrator.conformance.frames import faults_shown
from lanemesh_orchestrator.conformance.hosting import HostCall
from lanemesh_orchestrator.conformance.l0_host import COMPLETED
from lanemesh_orchestrator.conformance.places import NODE, instance, opening, place

RULE = "Fast starts"
QUICK = ["quick-starts"]
MERGED = ["merged-frames", "quick-starts"]
SHORT = ["merged-frames", "quick-starts", "short-lanes"]


@check(
    "L6", "opens-at-start", "Lanes are opened at the start, and items need no `accepted`.", rule=RULE, feature=QUICK[0]
)
async def opens_at_start(driver: Driver) -> None:
    driver.needs("conformance_source")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_out(limit=2)
    part = place(run_id, instance("conformance_source"), edge, opens_lanes_at_start=True, features=QUICK)
    await host.place_well(part)
    await asyncio.sleep(QUIET_SECONDS)
    expect(not driver.neighbour.has_lane(run_id, edge.id), "no lane before `start`", "`open`")
    await host.start()
    lane = await driver.neighbour.lane(run_id, edge.id)
    await lane.items(2)
    await lane.accept(2)
    await asyncio.sleep(QUIET_SECONDS)
    expect(lane.sent == 2, "2 items, the limit of the edge", lane.sent)
    await lane.credit(2, 2)
    await lane.items(1)
    await lane.ended()
    lane.finish()
    await host.ended_as(NODE, COMPLETED)
    await host.finished_well()


@check("L6", "next-run", "A Host stream hosts one run after the other.", rule=RULE, feature=QUICK[0])
async def next_run(driver: Driver) -> None:
    driver.needs("conformance_source")
    host, edge = driver.host(), driver.edge_out()
    for _ in range(3):
        run_id = driver.run_id()
        part = place(run_id, instance("conformance_source"), edge, opens_lanes_at_start=True, features=QUICK)
        await host.place_well(part)
        await host.start()
        lane = await driver.neighbour.lane(run_id, edge.id)
        await lane.accept(8)
        await lane.drained()
        lane.finish()
        await host.finished_well()
        host.next_run()


@check("L6", "lane-late", "A lane may come after the start.", rule=RULE, feature=QUICK[0])
async def lane_late(driver: Driver) -> None:
    driver.needs("conformance_count")
    run_id, host, edge, out = driver.run_id(), driver.host(), driver.edge_in(), driver.edge_out()
    part = place(run_id, instance("conformance_count"), edge, out, opens_lanes_at_start=True, features=QUICK)
    await host.place_well(part)
    await host.start()
    taken = await driver.neighbour.lane(run_id, out.id)
    await taken.accept(8)
    await asyncio.sleep(QUIET_SECONDS)
    given = driver.lane()
    await given.open(opening(run_id, edge))
    await given.texts("a")
    await given.end()
    (item,) = await taken.drained()
    expect(item.text == "1", 'the text "1"', item.text)
    taken.finish()
    await host.finished_well()


@check(
    "L6",
    "open-with-items",
    "`open` may carry the first items, and the last items the end.",
    rule=RULE,
    feature=MERGED[0],
)
async def open_with_items(driver: Driver) -> None:
    driver.needs("conformance_count")
    for parts in (1, 2):
        run_id, host, edge = driver.run_id(), driver.host(), driver.edge_in()
        await _place_merging(driver, run_id, host, edge)
        given = driver.lane()
        texts = lane_pb2.LaneItems(items=[lane_pb2.Item(text="a"), lane_pb2.Item(text="b")])
        if parts == 1:
            texts.end.item_count = 2
        await given.send(lane_pb2.ExchangeRequest(open=opening(run_id, edge, items=texts)))
        if parts == 2:
            last = lane_pb2.LaneItems(items=[lane_pb2.Item(text="c")], end=lane_pb2.LaneEnd(item_count=3))
            await given.send(lane_pb2.ExchangeRequest(items=last))
        await given.half_close()
        code = await given.status()
        expect(code.name == "OK", "the status OK", await given.described())
        await _finished_merging(driver, run_id, host, str(parts + 1))


async def _place_merging(driver: Driver, run_id: str, host: HostCall, edge: node_pb2.Edge) -> None:
    parts = (instance("conformance_count"), edge, driver.edge_out())
    await host.place_well(place(run_id, *parts, opens_lanes_at_start=True, merges_frames=True, features=MERGED))
    await host.start()


async def _finished_merging(driver: Driver, run_id: str, host: HostCall, text: str) -> None:
    lane = await driver.neighbour.lane(run_id, driver.edge_out().id)
    await lane.accept(8)
    items = list(lane.open.items.items)
    if not lane.open.items.HasField("end"):
        items += await lane.drained()
    texts = [item.text for item in items]
    expect(texts == [text], f'the text "{text}"', texts)
    lane.finish()
    await host.ended_as(NODE, COMPLETED)
    await host.finished_well()
    nodes = [update.node for update in host.of("update") if update.HasField("node")]
    running = [node for node in nodes if node.state == update_pb2.NODE_STATE_RUNNING and not node.firings]
    expect(not running, "no report that the node is running", running)


class ShortLanesCall(StreamCall[lane_pb2.ExchangeShortResponse]):
    """An `ExchangeShort` call of the driver."""

    @property
    def closed(self) -> dict[int, lane_pb2.ShortLaneClosed]:
        """The reports that have come, by number."""
        return {one.number: one for frame in self.frames for one in frame.closed}


def _short(driver: Driver) -> ShortLanesCall:
    method, read = "/lanemesh.v1.NodeService/ExchangeShort", lane_pb2.ExchangeShortResponse.FromString
    call = ShortLanesCall(driver.channel, method, read)
    driver.keep(call)
    return call


@check("L6", "short-lane", "A whole lane in one message is taken and reported as closed.", rule=RULE, feature=SHORT[2])
async def short_lane(driver: Driver) -> None:
    driver.needs("conformance_count")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_in()
    parts = (instance("conformance_count"), edge, driver.edge_out())
    fields = {"opens_lanes_at_start": True, "merges_frames": True, "short_lanes": True}
    await host.place_well(place(run_id, *parts, features=SHORT, **fields))
    await host.start()
    call = _short(driver)
    whole = lane_pb2.LaneItems(items=[lane_pb2.Item(text="a")], end=lane_pb2.LaneEnd(item_count=1))
    good = lane_pb2.ShortLane(number=4, open=opening(run_id, edge, items=whole))
    unknown = lane_pb2.ShortLane(number=5, open=opening("no-such-run", edge, items=whole))
    await call.send(lane_pb2.ExchangeShortRequest(lanes=[unknown, good]))
    back, lane = await driver.neighbour.short_lane(run_id)
    texts = [item.text for item in lane.open.items.items]
    expect(texts == ["1"], 'a short lane with the text "1"', texts)
    expect(lane.open.items.end.item_count == 1, "its end with item_count 1", lane.open.items.end.item_count)
    await call.until(lambda: call.closed.keys() == {4, 5}, "`closed` of the lanes 4 and 5")
    expect(not call.closed[4].HasField("fault"), "no fault of the lane 4", faults_shown([call.closed[4].fault]))
    refusal = call.closed[5].fault.reason
    expect(refusal == "unknown-run", "the fault unknown-run of the lane 5", refusal)
    await asyncio.sleep(QUIET_SECONDS)
    expect(not host.of("finished"), "no `finished` before `closed` of the short lane", "`finished`")
    await back.close(lane.number)
    await host.ended_as(NODE, COMPLETED)
    await host.finished_well()


@check(
    "L6",
    "short-lane-without-end",
    "A short lane without its end is refused, and its edge fails.",
    rule=RULE,
    feature=SHORT[2],
)
async def short_lane_without_end(driver: Driver) -> None:
    driver.needs("conformance_sink")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_in()
    fields = {"opens_lanes_at_start": True, "merges_frames": True, "short_lanes": True}
    await host.place_well(place(run_id, instance("conformance_sink"), edge, features=SHORT, **fields))
    await host.start()
    call = _short(driver)
    items = lane_pb2.LaneItems(items=[lane_pb2.Item(text="a")])
    lane = lane_pb2.ShortLane(number=1, open=opening(run_id, edge, items=items))
    await call.send(lane_pb2.ExchangeShortRequest(lanes=[lane]))
    await call.until(lambda: 1 in call.closed, "`closed` of the lane 1")
    expect(call.closed[1].fault.reason == "lane-broken", "lane-broken", faults_shown([call.closed[1].fault]))
    faults = await host.finished()
    expect(faults and all(one.secondary for one in faults), "`finished` with secondary faults", faults_shown(faults))


@check(
    "L6",
    "lane-never-opened",
    "A lane that is not opened within 30 s of the start fails its node.",
    rule="Timings and limits",
    slow=True,
    feature=QUICK[0],
)
async def lane_never_opened(driver: Driver) -> None:
    driver.needs("conformance_sink")
    host, edge = driver.host(), driver.edge_in()
    part = place(driver.run_id(), instance("conformance_sink"), edge, opens_lanes_at_start=True, features=QUICK)
    await host.place_well(part)
    await host.start()
    faults = await host.finished(35)
    came = any(fault.reason == "lane-not-opened" and fault.details["lane"] == edge.id for fault in faults)
    expect(came, f"lane-not-opened with the detail lane {edge.id}", faults_shown(faults))
