"""L2: the state of the nodes for the orchestrator, and limits that it raises."""

from __future__ import annotations

import asyncio

from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.conformance.checks import QUIET_SECONDS, check, expect
from lanemesh_orchestrator.conformance.driver import Driver, StartedRun
from lanemesh_orchestrator.conformance.hosting import CANCEL_SECONDS
from lanemesh_orchestrator.conformance.places import NODE, TESTED, instance, place

RULE = "Probe and grow"
PROBE_SECONDS = 2.0
"""Longest from `probe` to `probed`."""


async def probed(run: StartedRun, number: int) -> node_pb2.Probed:
    """The answer to a probe."""
    await run.host.send(node_pb2.HostRequest(probe=node_pb2.Probe(id=number)))

    def answers() -> list[node_pb2.Probed]:
        return [answer for answer in run.host.of("probed") if answer.id == number]

    await run.host.until(lambda: bool(answers()), f"`probed` with the id {number}", PROBE_SECONDS)
    return answers()[0]


async def settled(run: StartedRun, number: int, *, blocked: bool) -> node_pb2.Probed:
    """The first answer in which the node waits as it should, or the last one after a while: the check judges it."""
    until = asyncio.get_running_loop().time() + PROBE_SECONDS
    while True:
        answer = await probed(run, number)
        waits = [wait for actor in answer.actors for wait in actor.waits]
        found = any(wait.full_edges if blocked else [*wait.any_inputs, *wait.all_inputs] for wait in waits)
        if found or asyncio.get_running_loop().time() > until:
            return answer
        await asyncio.sleep(0.02)
        number += 100


def report_of(answer: node_pb2.Probed) -> node_pb2.ActorReport:
    """The report of the node under test."""
    components = [actor.component for actor in answer.actors]
    expect(components == [NODE], f"a report of {NODE} alone", components)
    return answer.actors[0]


def end_of(answer: node_pb2.Probed, edge: node_pb2.Edge, *, producer_end: bool) -> node_pb2.EdgeReport:
    """The report of one end of an edge."""
    found = [one for one in answer.edges if one.edge_id == edge.id]
    expect(len(found) == 1, f"one report of the edge {edge.id}", found)
    expect(found[0].producer_end == producer_end, f"producer_end {producer_end}", found[0].producer_end)
    return found[0]


@check("L2", "probe-waiting", "`probed` reports that a node waits for an input, and both edges.", rule=RULE)
async def probe_waiting(driver: Driver) -> None:
    async with driver.run("conformance_echo", limit=4) as run:
        await run.input.texts("a")
        await run.output.items(1)
        answer = await settled(run, 7, blocked=False)
        waits = report_of(answer).waits
        inputs = [[*wait.any_inputs, *wait.all_inputs] for wait in waits]
        expect(inputs == [["text"]], 'a wait for the input "text"', list(waits))
        arrived = end_of(answer, run.edges[0], producer_end=False)
        expect((arrived.items, arrived.taken_items) == (1, 1), "1 item arrived and taken", arrived)
        sent = end_of(answer, run.edges[1], producer_end=True)
        expect((sent.items, sent.limit_items) == (1, 4), "1 item sent with the limit 4", sent)


@check("L2", "probe-blocked", "`probed` reports that a node waits for capacity.", rule=RULE)
async def probe_blocked(driver: Driver) -> None:
    async with driver.run("conformance_source", {"count": 100_000}, window=2) as run:
        await run.output.items(2)
        answer = await settled(run, 1, blocked=True)
        waits = report_of(answer).waits
        edges = [list(wait.full_edges) for wait in waits]
        expect(edges == [[run.edges[0].id]], f"a wait for capacity on {run.edges[0].id}", list(waits))
        again = await probed(run, 2)
        same = report_of(again).version == report_of(answer).version
        expect(same, "the same version while nothing changes", (report_of(answer).version, report_of(again).version))
        await run.output.credit(1, 2)
        await run.output.items(1)
        later = report_of(await settled(run, 3, blocked=True))
        grown = later.version > report_of(again).version
        expect(grown, "a greater version after the wait", (report_of(again).version, later.version))
        await run.host.run_cancel()


@check("L2", "probe-busy", "A node that works has no waits.", rule=RULE)
async def probe_busy(driver: Driver) -> None:
    async with driver.run("conformance_slow", {"milliseconds": 60_000}) as run:
        await run.input.texts("a")
        await asyncio.sleep(QUIET_SECONDS)
        waits = report_of(await probed(run, 1)).waits
        expect(not waits, "no waits", list(waits))
        await run.host.run_cancel()
        await run.host.finished(CANCEL_SECONDS)


@check("L2", "stalled", "A node that waits for capacity for 200 ms is reported, again and again.", rule=RULE)
async def stalled(driver: Driver) -> None:
    async with driver.run("conformance_source", {"count": 100_000}, window=2) as run:
        await run.output.items(2)
        await run.host.until(lambda: len(run.host.of("stalled")) >= 2, "`stalled` twice", 3)
        components = {one.component for one in run.host.of("stalled")}
        expect(components == {NODE}, f"`stalled` with the component {NODE}", components)
        await run.host.run_cancel()


@check("L2", "not-stalled", "A node that waits for an input is not reported as stalled.", rule=RULE)
async def not_stalled(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        await asyncio.sleep(0.5)
        expect(not run.host.of("stalled"), "no `stalled`", "`stalled`")


@check("L2", "grow", "`grow` raises the limit of a lane, and its producer gets credit.", rule=RULE)
async def grow(driver: Driver) -> None:
    async with driver.run("conformance_slow", {"milliseconds": 60_000}, limit=2) as run:
        edge = run.edges[0].id
        await run.input.texts("a", "b")
        await run.host.send(node_pb2.HostRequest(grow=node_pb2.Grow(edge_id=edge, limit_items=8, limit_bytes=1 << 21)))

        def limits() -> list[int]:
            return [frame.credit.limit_items for frame in run.input.frames if frame.HasField("credit")]

        await run.input.until(lambda: 8 in limits(), "`credit` with limit_items 8")
        await run.input.texts(*"cdef")
        await run.host.send(node_pb2.HostRequest(grow=node_pb2.Grow(edge_id=edge, limit_items=1, limit_bytes=1)))
        await run.input.texts("g")
        await asyncio.sleep(QUIET_SECONDS)
        expect(not run.input.stops, "a lane that keeps the limit 8", "`stop`")
        expect(limits()[-1] == 8, "limit_items that never shrinks", limits())
        await run.host.run_cancel()


@check("L2", "probe-inside", "Both ends of an edge within the server are reported.", rule=RULE)
async def probe_inside(driver: Driver) -> None:
    driver.needs("conformance_slow")
    inner = driver.edge_in(
        id="source.out>node.text",
        producer="source",
        producer_server=TESTED,
        consumer_address="",
        limit=2,
    )
    run_id, host, out = driver.run_id(), driver.host(), driver.edge_out()
    parts = (
        instance("conformance_source", "source", {"count": 1000}),
        instance("conformance_slow", config={"milliseconds": 60_000}),
    )
    await host.place_well(place(run_id, *parts, inner, out))
    run = await driver.wire(run_id, host, [out])
    await host.start()
    expected = [(3, 1, 2)] * 2
    until = asyncio.get_running_loop().time() + PROBE_SECONDS
    number = 1
    while True:
        answer = await probed(run, number)
        ends = {one.producer_end: one for one in answer.edges if one.edge_id == inner.id}
        counts = [(end.items, end.taken_items, end.limit_items) for _, end in sorted(ends.items(), reverse=True)]
        if counts == expected or asyncio.get_running_loop().time() > until:
            break
        await asyncio.sleep(0.02)
        number += 1
    expect(len(ends) == 2, f"a report of each end of {inner.id}", list(answer.edges))
    expect(counts == expected, "3 items sent and arrived, 1 taken, the limit 2, at both ends", counts)
    await host.run_cancel()
    run.output.finish()
