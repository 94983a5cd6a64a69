"""L0 against producers that break the protocol: only their lane fails, and the answer says why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from lanemesh.faults import Code
from lanemesh.v1 import lane_pb2

from lanemesh_orchestrator.conformance.checks import Miss, check, expect
from lanemesh_orchestrator.conformance.driver import Driver, StartedRun
from lanemesh_orchestrator.conformance.frames import fault_shown, faults_shown, shown
from lanemesh_orchestrator.conformance.hosting import CANCEL_SECONDS, FAILED
from lanemesh_orchestrator.conformance.lanes import GivenLane
from lanemesh_orchestrator.conformance.places import LIMIT, NODE, instance, opening, place

RULE = "Exchange: the consumer"


async def check_refusal(lane: GivenLane, code: str, reason: str = "") -> None:
    """Raises Miss unless a lane is refused: no `accepted`, and this status, with this reason and the lane in its details."""
    frame = await lane.next(f"the status {code}")
    if frame is not None:
        raise Miss(f"the status {code}", shown(frame))
    status = await lane.status()
    expect(status.name == code, f"the status {code}", await lane.described())
    if reason:
        fault = await lane.fault()
        came = fault.reason if fault is not None else "no ErrorInfo of the domain lanemesh"
        expect(came == reason, f"ErrorInfo with the reason {reason}", came)
        details = fault.details if fault is not None else {}
        expect(details.get("lane"), "ErrorInfo with the lane in its metadata", dict(details))


async def _opened(driver: Driver, opening: lane_pb2.LaneOpen) -> GivenLane:
    lane = driver.lane()
    await lane.send(lane_pb2.ExchangeRequest(open=opening))
    return lane


@check("L0", "open-unknown-run", "A lane of a run that it does not host is refused with NOT_FOUND.", rule=RULE)
async def open_unknown_run(driver: Driver) -> None:
    lane = await _opened(driver, opening("no-such-run", driver.edge_in()))
    await check_refusal(lane, "NOT_FOUND", "unknown-run")


@check("L0", "open-other-incarnation", "A lane of another part of the run is refused with NOT_FOUND.", rule=RULE)
async def open_other_incarnation(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        lane = await _opened(driver, opening(run.id, run.edges[0], incarnation=3))
        await check_refusal(lane, "NOT_FOUND", "unknown-run")


@check(
    "L0",
    "open-unknown-edge",
    "A lane of an edge that its run does not have is refused with NOT_FOUND.",
    rule=RULE,
)
async def open_unknown_edge(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        for edge_id in ("no.such>edge.here", run.edges[1].id):
            lane = await _opened(driver, opening(run.id, run.edges[0], edge_id=edge_id))
            await check_refusal(lane, "NOT_FOUND", "unknown-edge")


@check("L0", "open-wrong-type", "A lane of another type than its edge is refused with INVALID_ARGUMENT.", rule=RULE)
async def open_wrong_type(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        for kind in (lane_pb2.LANE_TYPE_DATA, lane_pb2.LANE_TYPE_UNSPECIFIED):
            lane = await _opened(driver, opening(run.id, run.edges[0], lane_type=kind))
            await check_refusal(lane, "INVALID_ARGUMENT", "lane-mismatch")


@check(
    "L0",
    "open-twice",
    "A second lane of an edge is refused with ALREADY_EXISTS; the first one goes on.",
    rule=RULE,
)
async def open_twice(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        lane = await _opened(driver, opening(run.id, run.edges[0]))
        await check_refusal(lane, "ALREADY_EXISTS", "already-open")
        await run.input.texts("a")
        await run.output.items(1)


@check(
    "L0",
    "open-not-recoverable",
    "`resume_from` and `reopen` are refused on an edge that is not recoverable.",
    rule=RULE,
)
async def open_not_recoverable(driver: Driver) -> None:
    driver.needs("conformance_sink")
    run_id, host, edge = driver.run_id(), driver.host(), driver.edge_in()
    await host.place_well(place(run_id, instance("conformance_sink"), edge))
    await check_refusal(await _opened(driver, opening(run_id, edge, reopen=True)), "FAILED_PRECONDITION")
    await check_refusal(await _opened(driver, opening(run_id, edge, resume_from=3)), "FAILED_PRECONDITION")


@check("L0", "no-open", "A call whose first frame is not `open` ends with INVALID_ARGUMENT.", rule=RULE)
async def no_open(driver: Driver) -> None:
    lane = driver.lane()
    await lane.texts("a")
    await check_refusal(lane, "INVALID_ARGUMENT")
    garbage = driver.lane()
    await garbage.send(b"\x0a\xff\xff\xff\xff\x0f")
    code = await garbage.status("the end of a call that begins with garbage")
    expect(code.name in ("INVALID_ARGUMENT", "INTERNAL"), "INVALID_ARGUMENT or INTERNAL", code.name)


@check(
    "L0",
    "open-silence",
    "A call without `open` for 10 s ends with DEADLINE_EXCEEDED.",
    rule="Timings and limits",
    slow=True,
)
async def open_silence(driver: Driver) -> None:
    lane = driver.lane()
    code = await lane.status("DEADLINE_EXCEEDED", 15)
    expect(code.name == "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", await lane.described())


LANE_KEY = bytes(range(16))


@check(
    "L0",
    "lane-key",
    "Where a run has a lane key, its lanes carry it, and others are refused with PERMISSION_DENIED.",
    rule="Features",
    feature="lane-keys",
)
async def lane_key(driver: Driver) -> None:
    driver.needs("conformance_echo")
    run_id, host, edges = driver.run_id(), driver.host(), [driver.edge_in(), driver.edge_out()]
    fields = {"lane_key": LANE_KEY, "features": ["lane-keys"]}
    await host.place_well(place(run_id, instance("conformance_echo"), *edges, **fields))
    for wrong in ({}, {"lane_key": LANE_KEY[::-1]}, {"lane_key": LANE_KEY[:8]}):
        lane = await _opened(driver, opening(run_id, edges[0], **wrong))
        await check_refusal(lane, "PERMISSION_DENIED", "wrong-lane-key")
    await host.connect()
    taken = await driver.neighbour.lane(run_id, edges[1].id)
    carried = LANE_KEY in taken.open.SerializeToString()
    expect(carried, "the lane key in `open`", "`open` without it")
    await taken.accept(LIMIT)
    await host.connected_well()
    given = driver.lane()
    await given.open(opening(run_id, edges[0], lane_key=LANE_KEY))
    await host.start()
    await given.texts("a")
    await taken.items(1)
    taken.finish()


Lie = Callable[[GivenLane], Awaitable[None]]


async def _lie(driver: Driver, misbehave: Lie, code: Code, *, refusal: bool, limit: int = 64) -> None:
    """A lane that lies fails with this code, as a consequence, and the run ends; another run goes on.

    Raises:
        Miss: it does not, or with `refusal`, there is no `stop` with the fault, or the call does not end with this code.
    """
    async with driver.run("conformance_count") as other, driver.run("conformance_echo", limit=limit) as run:
        await run.input.texts("a")
        await run.output.items(1)
        await misbehave(run.input)
        if refusal:
            stop = await run.input.stopped()
            expect(stop.fault.code == code, f"`stop` with {code.name}", fault_shown(stop.fault))
            await run.input.half_close()
            status = await run.input.status("the end of the call after the half-close")
            expect(status.value[0] == code, f"the status {code.name}", await run.input.described())
        await _failed(run, code)
        await other.input.texts("a")
        await other.input.end()
        (item,) = await other.output.drained()
        expect(item.text == "1", 'the text "1" of the other run', item.text)
        other.output.finish()
        await other.host.finished_well()


async def _failed(run: StartedRun, code: Code) -> None:
    end = await run.output.ended()
    run.output.finish()
    expect(end.outcome.code == code, f"`end` of the next lane with {code.name}", fault_shown(end.outcome))
    node = await run.host.ended_as(NODE, FAILED)
    right = node.error.code == code and node.error.reason == "lane-broken" and node.error.secondary
    expect(right, f"a secondary fault {code.name} lane-broken of the node", fault_shown(node.error))
    faults = await run.host.finished(CANCEL_SECONDS)
    expect(
        faults and all(fault.secondary for fault in faults), "`finished` with secondary faults", faults_shown(faults)
    )


@check("L0", "liar-count", "A count in `end` above the items that came is DATA_LOSS.", rule=RULE)
async def liar_count(driver: Driver) -> None:
    await _lie(driver, lambda lane: lane.end(count=3), Code.DATA_LOSS, refusal=False)


@check("L0", "liar-count-low", "A count in `end` below the items that came is DATA_LOSS.", rule=RULE)
async def liar_count_low(driver: Driver) -> None:
    await _lie(driver, lambda lane: lane.end(count=0), Code.DATA_LOSS, refusal=False)


@check("L0", "liar-no-end", "A half-close without `end` is DATA_LOSS.", rule=RULE)
async def liar_no_end(driver: Driver) -> None:
    await _lie(driver, lambda lane: lane.half_close(), Code.DATA_LOSS, refusal=False)


@check("L0", "producer-lost", "A call that breaks before `end` is UNAVAILABLE, never a clean end.", rule=RULE)
async def producer_lost(driver: Driver) -> None:
    async def misbehave(lane: GivenLane) -> None:
        lane.cancel()

    await _lie(driver, misbehave, Code.UNAVAILABLE, refusal=False)


@check("L0", "liar-window", "More items than the window are a violation.", rule=RULE)
async def liar_window(driver: Driver) -> None:
    async def misbehave(lane: GivenLane) -> None:
        await lane.texts(*"abcdefghijkl")

    await _lie(driver, misbehave, Code.INVALID_ARGUMENT, refusal=True, limit=4)


@check("L0", "liar-open", "A second `open` on a call is a violation.", rule=RULE)
async def liar_open(driver: Driver) -> None:
    async def misbehave(lane: GivenLane) -> None:
        await lane.send(lane_pb2.ExchangeRequest(open=lane_pb2.LaneOpen(run_id="x")))

    await _lie(driver, misbehave, Code.INVALID_ARGUMENT, refusal=True)


@check("L0", "liar-payload", "An item of another type than the lane's is a violation.", rule="Values")
async def liar_payload(driver: Driver) -> None:
    await _lie(driver, lambda lane: lane.items([lane_pb2.Item(data_json="1")]), Code.INVALID_ARGUMENT, refusal=True)


@check("L0", "liar-frame", "Of a frame with an item of another type, the node gets none.", rule=RULE)
async def liar_frame(driver: Driver) -> None:
    mixed = [lane_pb2.Item(text="b"), lane_pb2.Item(data_json="1")]
    await _lie(driver, lambda lane: lane.items(mixed), Code.INVALID_ARGUMENT, refusal=True)


@check("L0", "liar-empty-item", "An item without a value and without an envelope is a violation.", rule="Values")
async def liar_empty_item(driver: Driver) -> None:
    await _lie(driver, lambda lane: lane.items([lane_pb2.Item()]), Code.INVALID_ARGUMENT, refusal=True)


@check(
    "L0",
    "liar-chunk",
    "Chunks before a value that is not media, or before `end`, are a violation.",
    rule="Values",
)
async def liar_chunk(driver: Driver) -> None:
    chunk = lane_pb2.ExchangeRequest(chunk=lane_pb2.LaneChunk(content=b"x"))

    async def before_text(lane: GivenLane) -> None:
        await lane.send(chunk)
        await lane.texts("b")

    async def before_end(lane: GivenLane) -> None:
        await lane.send(chunk, lane_pb2.ExchangeRequest(end=lane_pb2.LaneEnd(item_count=lane.sent)))

    await _lie(driver, before_text, Code.INVALID_ARGUMENT, refusal=True)
    await _lie(driver, before_end, Code.INVALID_ARGUMENT, refusal=True)


@check("L0", "liar-garbage", "Bytes that are not a frame end the lane, and no other run.", rule=RULE)
async def liar_garbage(driver: Driver) -> None:
    async with driver.run("conformance_count") as other, driver.run("conformance_echo") as run:
        await run.input.send(b"\x12\xff\xff\xff\xff\x0f")
        await run.input.half_close()
        end = await run.output.ended(CANCEL_SECONDS)
        run.output.finish()
        expect(end.outcome.code, "`end` of the next lane with a fault", "`end` without a fault")
        await run.host.ended_as(NODE, FAILED)
        await other.input.end()
        await other.output.drained()
        other.output.finish()
        await other.host.finished_well()


@check("L0", "liar-second-end", "A second `end` is ignored; items after `end` are a violation.", rule=RULE)
async def liar_second_end(driver: Driver) -> None:
    async with driver.run("conformance_count") as run:
        await run.input.texts("a")
        end = lane_pb2.ExchangeRequest(end=lane_pb2.LaneEnd(item_count=1))
        again = lane_pb2.ExchangeRequest(end=lane_pb2.LaneEnd(item_count=9))
        await run.input.send(end, again)
        (item,) = await run.output.drained()
        expect(item.text == "1", 'the text "1"', item.text)
        await run.input.texts("b")
        await run.input.half_close()
        code = await run.input.status()
        expect(code.name == "INVALID_ARGUMENT", "the status INVALID_ARGUMENT", await run.input.described())
        run.output.finish()
        await run.host.finished_well()


@check("L0", "liar-unknown-frame", "A frame that it does not know is ignored.", rule="Levels")
async def liar_unknown_frame(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        await run.input.send(b"\xf2\x1f\x03abc")
        await run.input.texts("a")
        await run.input.end()
        await run.output.drained()
        run.output.finish()
        await run.host.finished_well()


@check("L0", "liar-json", "Text that is not JSON on a lane of JSON is a violation.", rule="Values")
async def liar_json(driver: Driver) -> None:
    driver.needs("conformance_values")
    wrong = [
        ("data", lane_pb2.LANE_TYPE_DATA, lane_pb2.Item(data_json="{")),
        ("data", lane_pb2.LANE_TYPE_DATA, lane_pb2.Item(data_json="NaN")),
        ("tags", lane_pb2.LANE_TYPE_TAGS, lane_pb2.Item(tags_json="[1]")),
    ]
    for port, kind, item in wrong:
        edges = [driver.edge_in(port=port, lane_type=kind), driver.edge_out(port=f"out_{port}", lane_type=kind)]
        async with driver.run("conformance_values", edges=edges) as run:
            lane = run.given[port]
            await lane.items([item])
            stop = await lane.stopped()
            is_refusal = stop.fault.code == Code.INVALID_ARGUMENT
            expect(is_refusal, f"`stop` with INVALID_ARGUMENT for {shown_item(item)}", fault_shown(stop.fault))
            await lane.half_close()
            await run.host.ended_as(NODE, FAILED)


def shown_item(item: lane_pb2.Item) -> str:
    """An item in one line."""
    return " ".join(str(item).split())
