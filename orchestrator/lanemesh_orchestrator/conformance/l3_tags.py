"""L3: sequence tags and joins."""

from __future__ import annotations

from collections.abc import Mapping

from lanemesh.v1 import lane_pb2, node_pb2

from lanemesh_orchestrator.conformance.checks import check, expect
from lanemesh_orchestrator.conformance.driver import Driver
from lanemesh_orchestrator.conformance.l1_groups import outcome
from lanemesh_orchestrator.conformance.places import BEFORE, NODE

RULE = "Sequence tags"
FORK = f"{BEFORE}.out"
OWN = f"{NODE}.out"
Tag = tuple[str | None, Mapping[str, int], bool]


def tagged(text: str | None, number: int, *, done: bool = True) -> lane_pb2.Item:
    """An item with the tag of the driver's fork; without a value if `text` is None."""
    lineage = lane_pb2.Lineage(forks={FORK: number}, done=done)
    return lane_pb2.Item(lineage=lineage) if text is None else lane_pb2.Item(text=text, lineage=lineage)


def tag(item: lane_pb2.Item) -> Tag:
    """The text and the tags of an item."""
    text = item.text if item.WhichOneof("payload") == "text" else None
    return text, dict(item.lineage.forks), item.lineage.done


@check("L3", "fork-numbers", "An output that is a fork numbers its items from 0.", rule=RULE)
async def fork_numbers(driver: Driver) -> None:
    async with driver.run("conformance_source", edges=[driver.edge_out(forks=[OWN])], features=["joins"]) as run:
        came = [tag(item) for item in await run.output.drained()]
        expect(came == [(str(n), {OWN: n}, True) for n in range(3)], f"the tags {OWN} 0, 1 and 2, done", came)
        run.output.finish()
        await run.host.finished_well()


@check("L3", "tags-passed-on", "A node passes on the tags that its edges name, and that they are completed.", rule=RULE)
async def tags_passed_on(driver: Driver) -> None:
    edges = [driver.edge_in(forks=[FORK]), driver.edge_out(forks=[FORK])]
    async with driver.run("conformance_echo", edges=edges, features=["joins"]) as run:
        items = await outcome(run, [tagged("a", 0), tagged("b", 1, done=False), tagged("c", 1)])
        valued = [(item.text, dict(item.lineage.forks)) for item in items if item.WhichOneof("payload")]
        expect(valued == [("a", {FORK: 0}), ("b", {FORK: 1}), ("c", {FORK: 1})], "the tags 0, 1 and 1", valued)
        done = [dict(item.lineage.forks)[FORK] for item in items if item.lineage.done]
        expect(done == [0, 1], "0 and then 1 completed, each once", done)


@check("L3", "tags-not-named", "An edge without forks carries no tags.", rule=RULE)
async def tags_not_named(driver: Driver) -> None:
    edges = [driver.edge_in(forks=[FORK]), driver.edge_out()]
    async with driver.run("conformance_echo", edges=edges, features=["joins"]) as run:
        (item,) = await outcome(run, [tagged("a", 0)])
        expect(not item.HasField("lineage"), "an item without lineage", item)


@check("L3", "tag-without-value", "A tag for which a node sends nothing is completed without a value.", rule=RULE)
async def tag_without_value(driver: Driver) -> None:
    edges = [driver.edge_in(forks=[FORK]), driver.edge_out(forks=[FORK])]
    async with driver.run("conformance_echo", edges=edges, features=["joins"]) as run:
        came = [tag(item) for item in await outcome(run, [tagged(None, 0), tagged("b", 1)])]
        expect(came == [(None, {FORK: 0}, True), ("b", {FORK: 1}, True)], "an item without a value, done for 0", came)


def _pair(driver: Driver) -> list[node_pb2.Edge]:
    edges = [driver.edge_in(port=port, forks=[FORK]) for port in ("first", "second")]
    return [*edges, driver.edge_out()]


JOIN = {"sync_mode": node_pb2.SYNC_MODE_JOIN, "join_on": FORK}


@check("L3", "join", "Items with the same number are paired, in any order.", rule=RULE)
async def join(driver: Driver) -> None:
    async with driver.run("conformance_pair", edges=_pair(driver), fields=JOIN, features=["joins"]) as run:
        await run.given["first"].items([tagged("a0", 0), tagged("a1", 1), tagged("a2", 2)])
        await run.given["second"].items([tagged("b2", 2), tagged("b0", 0), tagged("b1", 1)])
        for lane in run.given.values():
            await lane.end()
        texts = sorted(item.text for item in await run.output.drained())
        expect(texts == ["a0+b0", "a1+b1", "a2+b2"], "the pairs of 0, 1 and 2", texts)
        run.output.finish()
        await run.host.finished_well()


@check("L3", "join-drops", "A number that one input completes without an item is dropped from the other.", rule=RULE)
async def join_drops(driver: Driver) -> None:
    async with driver.run("conformance_pair", edges=_pair(driver), fields=JOIN, features=["joins"]) as run:
        await run.given["first"].items([tagged("a0", 0), tagged("a1", 1)])
        await run.given["second"].items([tagged(None, 0), tagged("b1", 1)])
        for lane in run.given.values():
            await lane.end()
        texts = [item.text for item in await run.output.drained()]
        expect(texts == ["a1+b1"], "the pair of 1 alone", texts)
        run.output.finish()
        await run.host.finished_well()
