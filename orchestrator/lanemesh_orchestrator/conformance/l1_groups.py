"""L1: groups are passed on, opened, closed and assembled."""

from __future__ import annotations

from collections.abc import Sequence

from lanemesh.v1 import lane_pb2

from lanemesh_orchestrator.conformance.checks import Miss, check, expect
from lanemesh_orchestrator.conformance.driver import Driver, StartedRun
from lanemesh_orchestrator.conformance.l0_host import FAILED
from lanemesh_orchestrator.conformance.places import NODE

RULE = "Groups"
Shape = tuple[str | None, str, int, bool]
"""An item of a group: its text, or None without a value; the id, the index, and whether it is the last."""


def piece(text: str | None, group: str, index: int, last: bool = False, *, outcome: int = 0) -> lane_pb2.Item:
    """An item of a group; without a value if `text` is None."""
    marks = lane_pb2.Group(id=group, index=index, last=last, outcome=outcome)  # type: ignore[arg-type]
    return lane_pb2.Item(group=marks) if text is None else lane_pb2.Item(text=text, group=marks)


def shape(item: lane_pb2.Item) -> Shape:
    """The content of an item of a group."""
    text = item.text if item.WhichOneof("payload") == "text" else None
    return text, item.group.id, item.group.index, item.group.last


async def outcome(run: StartedRun, items: Sequence[lane_pb2.Item], *, well: bool = True) -> list[lane_pb2.Item]:
    """What a run with this input sends, to its end."""
    await run.input.items(items)
    await run.input.end()
    found = await run.output.drained()
    run.output.finish()
    if well:
        await run.host.finished_well()
    return found


@check("L1", "group-kept", "A node that sends one item per item keeps its group.", rule=RULE)
async def group_kept(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        given = [piece("a", "g", 0), piece("x", "h", 0, True), piece("b", "g", 1, True), lane_pb2.Item(text="z")]
        came = [shape(item) for item in await outcome(run, given)]
        expect(came == [shape(item) for item in given], "the same groups", came)


@check("L1", "group-end-kept", "The end of a group without a value is passed on.", rule=RULE)
async def group_end_kept(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        given = [piece("a", "g", 0), piece(None, "g", 1, True)]
        came = [shape(item) for item in await outcome(run, given)]
        expect(came == [shape(item) for item in given], "the piece and the end of its group", came)


@check("L1", "group-outcome-kept", "The outcome of a group that has failed is passed on.", rule=RULE)
async def group_outcome_kept(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        given = [piece("a", "g", 0), piece(None, "g", 1, True, outcome=lane_pb2.GROUP_OUTCOME_ERROR)]
        items = await outcome(run, given)
        expect(items and items[-1].group.last, "the end of the group", items)
        expect(items[-1].group.outcome == lane_pb2.GROUP_OUTCOME_ERROR, "its outcome ERROR", items[-1].group)


@check(
    "L1", "group-opened", "A node that sends several items per item opens a group for each, and closes it.", rule=RULE
)
async def group_opened(driver: Driver) -> None:
    async with driver.run("conformance_pieces") as run:
        items = await outcome(run, [lane_pb2.Item(text="abc"), lane_pb2.Item(text="de")])
        groups: dict[str, list[lane_pb2.Item]] = {}
        for item in items:
            if not item.HasField("group"):
                raise Miss("items with groups", str(item))
            groups.setdefault(item.group.id, []).append(item)
        texts = ["".join(item.text for item in group) for group in groups.values()]
        expect(texts == ["abc", "de"], 'two groups of "abc" and "de"', texts)
        for group in groups.values():
            indexes = [item.group.index for item in group]
            expect(indexes == list(range(len(group))), "indexes from 0 without gaps", indexes)
            lasts = [item.group.last for item in group]
            expect(lasts == [False] * (len(group) - 1) + [True], "`last` with the last item alone", lasts)
            clean = group[-1].group.outcome == lane_pb2.GROUP_OUTCOME_UNSPECIFIED
            expect(clean, "no outcome of a clean group", group[-1].group)


@check("L1", "group-failed", "A firing that fails closes its group with the outcome ERROR.", rule=RULE)
async def group_failed(driver: Driver) -> None:
    async with driver.run("conformance_pieces") as run:
        items = await outcome(run, [lane_pb2.Item(text="fail")], well=False)
        expect(items and items[0].text == "f", 'the piece "f"', items)
        last = items[-1].group
        right = last.last and last.outcome == lane_pb2.GROUP_OUTCOME_ERROR
        expect(right, "the end of the group with the outcome ERROR", last)
        await run.host.ended_as(NODE, FAILED)


@check("L1", "group-assembled", "Pieces of interleaved groups are assembled, each group to one value.", rule=RULE)
async def group_assembled(driver: Driver) -> None:
    async with driver.run("conformance_whole") as run:
        given = [
            *(piece("a", "g", 0), piece("x", "h", 0), piece("b", "g", 1), piece(None, "g", 2, True)),
            *(lane_pb2.Item(text="alone"), piece("y", "h", 1, True)),
        ]
        texts = [item.text for item in await outcome(run, given)]
        expect(texts == ["ab", "alone", "xy"], 'the texts "ab", "alone" and "xy"', texts)


@check(
    "L1", "group-dropped", "A group that has failed is not delivered; one that is open at a clean end is.", rule=RULE
)
async def group_dropped(driver: Driver) -> None:
    async with driver.run("conformance_whole") as run:
        given = [
            piece("a", "g", 0),
            piece(None, "g", 1, True, outcome=lane_pb2.GROUP_OUTCOME_ERROR),
            piece("b", "h", 0),
            piece("c", "h", 1),
        ]
        texts = [item.text for item in await outcome(run, given)]
        expect(texts == ["bc"], 'the text "bc"', texts)


@check(
    "L1",
    "group-serialized",
    "With serialize_groups the groups come one after the other.",
    rule=RULE,
    feature="groups",
)
async def group_serialized(driver: Driver) -> None:
    edges = [driver.edge_in(serialize_groups=True), driver.edge_out()]
    async with driver.run("conformance_echo", edges=edges, features=["groups"]) as run:
        given = [piece("a", "g", 0), piece("x", "h", 0), piece("b", "g", 1, True), piece("y", "h", 1, True)]
        texts = [item.text for item in await outcome(run, given)]
        expect(texts == ["a", "b", "x", "y"], "the texts a, b, x and y", texts)
