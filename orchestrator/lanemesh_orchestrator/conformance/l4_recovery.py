"""L4: items are kept, acknowledged and replayed, and lanes are reopened when a server is lost."""

from __future__ import annotations

import asyncio

from lanemesh.faults import Code
from lanemesh.v1 import lane_pb2, node_pb2

from lanemesh_orchestrator.conformance.checks import QUIET_SECONDS, Miss, check, expect
from lanemesh_orchestrator.conformance.driver import Driver, StartedRun
from lanemesh_orchestrator.conformance.frames import fault_shown, shown
from lanemesh_orchestrator.conformance.places import instance, opening, place

RULE = "Recovery"
FEATURES = ["recovery"]


async def detached(run: StartedRun, number: int, *edge_ids: str) -> dict[str, node_pb2.DetachedEdge]:
    """The answer to `detach`, by edge."""
    await run.host.send(node_pb2.HostRequest(detach=node_pb2.Detach(id=number, edge_ids=edge_ids)))
    await run.host.until(lambda: any(one.id == number for one in run.host.of("detached")), "`detached`")
    answer = next(one for one in run.host.of("detached") if one.id == number)
    return {edge.edge_id: edge for edge in answer.edges}


def goes_on(edge: node_pb2.DetachedEdge | None) -> None:
    """Raises Miss unless an edge waits for another end."""
    if edge is None:
        raise Miss("the edge in `detached`", "an answer without it")
    expect(not edge.done, "an edge that is not done", edge)
    expect(not edge.HasField("fault"), "an edge without a fault", fault_shown(edge.fault))


@check(
    "L4", "acknowledged", "An item is acknowledged when the next consumer has its result, and not before.", rule=RULE
)
async def acknowledged(driver: Driver) -> None:
    edges = [driver.edge_in(replayable=True), driver.edge_out(reopenable=True)]
    async with driver.run("conformance_echo", edges=edges, features=FEATURES) as run:
        await run.input.texts("a", "b")
        await run.output.items(2)

        def count() -> int:
            return max((f.credit.acknowledged_items for f in run.input.frames if f.HasField("credit")), default=0)

        await asyncio.sleep(QUIET_SECONDS)
        expect(count() == 0, "acknowledged_items 0 before the consumer has the results", count())
        await run.output.credit(2, 64, arrived=2)
        await run.input.until(lambda: count() == 2, "`credit` with acknowledged_items 2")


@check("L4", "arrived", "Arrived items are reported on a reopenable edge, without credit for them.", rule=RULE)
async def arrived(driver: Driver) -> None:
    edges = [driver.edge_in(reopenable=True, limit=8), driver.edge_out(limit=8)]
    async with driver.run("conformance_slow", {"milliseconds": 60_000}, edges=edges, features=FEATURES) as run:
        await run.input.texts("a", "b", "c")

        def counts() -> list[tuple[int, int]]:
            grants = [frame.credit for frame in run.input.frames if frame.HasField("credit")]
            return [(grant.arrived_items, grant.taken_items) for grant in grants]

        await run.input.until(lambda: any(one == 3 for one, _ in counts()), "`credit` with arrived_items 3")
        expect(max(taken for _, taken in counts()) <= 1, "taken_items of at most 1", counts())
        await run.host.run_cancel()


@check("L4", "resume", "A replayable edge accepts a lane that resumes from an item.", rule=RULE)
async def resume(driver: Driver) -> None:
    driver.needs("conformance_echo")
    edge, out = driver.edge_in(replayable=True, incarnation=1), driver.edge_out(reopenable=True)
    run_id, host = driver.run_id(), driver.host()
    part = place(run_id, instance("conformance_echo"), edge, out, incarnation=1, features=FEATURES)
    await host.place_well(part)
    await host.connect()
    lane = await driver.neighbour.lane(run_id, out.id)
    await lane.accept(8)
    await host.connected_well()
    given = driver.lane()
    await given.open(opening(run_id, edge, resume_from=5))
    await host.start()
    await given.texts("f")
    (item,) = await lane.items(1)
    expect(item.text == "f", 'the text "f"', item.text)
    lane.finish()


@check("L4", "replay", "After `detach` and `reroute` the items that were not acknowledged are sent again.", rule=RULE)
async def replay(driver: Driver) -> None:
    edge = driver.edge_out(replayable=True, limit=4)
    async with driver.run("conformance_source", {"count": 6}, edges=[edge], features=FEATURES) as run:
        await run.output.items(4)
        await run.output.credit(2, 4, acknowledged=2)
        await run.output.items(2)
        goes_on((await detached(run, 1, edge.id)).get(edge.id))
        run.output.finish()
        expect(not run.host.of("finished"), "a run that goes on", "`finished`")
        to = node_pb2.ReroutedEdge(edge_id=edge.id, consumer_address=driver.neighbour.address, incarnation=3)
        await run.host.send(node_pb2.HostRequest(reroute=node_pb2.Reroute(edges=[to])))
        again = await driver.neighbour.lane(run.id, edge.id)
        came = (again.open.resume_from, again.open.incarnation, again.open.reopen)
        expect(came == (2, 3, False), "resume_from 2, incarnation 3 and no reopen", came)
        await again.accept(4)
        texts = [item.text for item in await again.items(4)]
        expect(texts == ["2", "3", "4", "5"], "the items from 2 on", texts)
        end = await again.ended()
        expect(end.item_count == 4, "`end` with item_count 4, those of this lane", end.item_count)
        again.finish()
        await run.host.finished_well()


@check("L4", "replay-ended", "`reroute` with ended_edges completes a lane whose consumer has ended.", rule=RULE)
async def replay_ended(driver: Driver) -> None:
    edge = driver.edge_out(replayable=True, limit=2)
    async with driver.run("conformance_source", {"count": 1000}, edges=[edge], features=FEATURES) as run:
        await run.output.items(2)
        goes_on((await detached(run, 1, edge.id)).get(edge.id))
        run.output.finish()
        await run.host.send(node_pb2.HostRequest(reroute=node_pb2.Reroute(ended_edges=[edge.id])))
        await run.host.finished_well()


@check("L4", "reopen", "An edge whose producer is lost outlives its lane, and goes on with the next one.", rule=RULE)
async def reopen(driver: Driver) -> None:
    edge = driver.edge_in(reopenable=True)
    edges = [edge, driver.edge_out()]
    async with driver.run("conformance_count", edges=edges, features=FEATURES) as run:
        await run.input.texts("a", "b")
        await run.input.until(lambda: any(f.credit.arrived_items == 2 for f in run.input.frames), "arrived_items 2")
        run.input.cancel()
        goes_on((await detached(run, 4, edge.id)).get(edge.id))
        late = driver.lane()
        await late.send(lane_pb2.ExchangeRequest(open=opening(run.id, edge)))
        frame = await late.next("FAILED_PRECONDITION")
        if frame is not None:
            raise Miss("FAILED_PRECONDITION for a lane without `reopen`", shown(frame))
        code = await late.status()
        expect(
            code.name in ("FAILED_PRECONDITION", "ALREADY_EXISTS"), "FAILED_PRECONDITION or ALREADY_EXISTS", code.name
        )
        again = driver.lane()
        await again.open(opening(run.id, edge, reopen=True))
        await again.texts("c")
        await again.end(count=1)
        (item,) = await run.output.drained()
        expect(item.text == "3", 'the text "3", the items of both lanes', item.text)
        run.output.finish()
        await run.host.finished_well()


@check("L4", "reopen-too-early", "`reopen` on an edge that is not detached is refused.", rule=RULE)
async def reopen_too_early(driver: Driver) -> None:
    edges = [driver.edge_in(reopenable=True), driver.edge_out()]
    async with driver.run("conformance_echo", edges=edges, features=FEATURES) as run:
        lane = driver.lane()
        await lane.send(lane_pb2.ExchangeRequest(open=opening(run.id, edges[0], reopen=True)))
        code = await lane.status()
        expect(code.name == "FAILED_PRECONDITION", "FAILED_PRECONDITION", await lane.described())
        await run.input.texts("a")
        await run.output.items(1)


@check(
    "L4", "not-recoverable", "`detach` of another edge is a fault in `detached`; unknown ones are left out.", rule=RULE
)
async def not_recoverable(driver: Driver) -> None:
    async with driver.run("conformance_echo", features=FEATURES) as run:
        answer = await detached(run, 2, run.edges[0].id, run.edges[1].id, "no.such>edge.here")
        wanted = {edge.id for edge in run.edges}
        expect(answer.keys() == wanted, f"the edges {sorted(wanted)}", sorted(answer))
        for edge in answer.values():
            right = edge.fault.code == Code.FAILED_PRECONDITION and edge.fault.reason == "not-recoverable"
            expect(right, "FAILED_PRECONDITION not-recoverable", fault_shown(edge.fault))
