"""L0 of a lane's consumer: open, credit, stop, end, and the values of lanes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from lanemesh.v1 import lane_pb2, update_pb2

from lanemesh_orchestrator.conformance.checks import QUIET_SECONDS, check, expect
from lanemesh_orchestrator.conformance.driver import Driver, StartedRun
from lanemesh_orchestrator.conformance.lanes import GivenLane
from lanemesh_orchestrator.conformance.places import NODE

COMPLETED = update_pb2.NODE_STATE_COMPLETED
CHUNK = 1024 * 1024


async def credited(lane: GivenLane, texts: Sequence[str], limit: int) -> None:
    """Sends texts as credit permits, one at a time. Raises Miss if credit does not come."""
    for text in texts:
        await lane.until(lambda: lane.sent - lane.taken < limit, f"credit beyond {lane.sent} items")
        await lane.texts(text)


@check("L0", "credit", "The consumer grants credit as its node takes items.", rule="Exchange: the consumer")
async def credit(driver: Driver) -> None:
    async with driver.run("conformance_sink", limit=4) as run:
        await credited(run.input, [str(number) for number in range(40)], 4)
        await run.input.end()
        expect((await run.input.status()).name == "OK", "the status OK", await run.input.described())
        _cumulative(run.input, 4, 40)
        await run.host.ended_as(NODE, COMPLETED)


def _cumulative(lane: GivenLane, limit: int, sent: int) -> None:
    grants = [frame.credit for frame in lane.frames if frame.HasField("credit")]
    taken = [one.taken_items for one in grants]
    expect(taken == sorted(taken), "taken_items that never decreases", taken)
    expect(all(count <= sent for count in taken), f"taken_items of at most {sent}, the items sent", taken)
    limits = [one.limit_items for one in grants]
    expect(all(one >= limit for one in limits), f"limit_items of at least {limit} in each credit", limits)


@check("L0", "credit-is-taken", "Items that the node has not taken grant no credit.", rule="Exchange: the consumer")
async def credit_is_taken(driver: Driver) -> None:
    async with driver.run("conformance_slow", {"milliseconds": 60_000}, limit=4) as run:
        await run.input.texts("a", "b", "c", "d")
        await asyncio.sleep(QUIET_SECONDS * 2)
        expect(run.input.taken <= 1, "taken_items of at most 1 while the node works on its first item", run.input.taken)
        await run.host.run_cancel()


@check("L0", "credit-one", "An edge with the limit 1 moves.", rule="Exchange: the consumer")
async def credit_one(driver: Driver) -> None:
    async with driver.run("conformance_echo", limit=1) as run:
        for number in range(10):
            await credited(run.input, [str(number)], 1)
            await run.output.items(1)
            await run.output.credit(number + 1, 1)
        await run.input.end()
        await run.output.ended()
        run.output.finish()
        await run.host.ended_as(NODE, COMPLETED)


@check(
    "L0",
    "backpressure",
    "A node whose consumer takes nothing takes no more itself.",
    rule="Exchange: the consumer",
)
async def backpressure(driver: Driver) -> None:
    async with driver.run("conformance_echo", limit=8, window=2) as run:
        await run.input.texts(*"abcdefgh")
        await asyncio.sleep(QUIET_SECONDS * 2)
        expect(run.output.sent == 2, "2 items, the window of the driver", f"{run.output.sent} items")
        expect(run.input.taken < 8, "taken_items below 8", run.input.taken)
        await run.output.credit(2, 8)
        texts = [item.text for item in await run.output.items(8)]
        expect(texts == list("abcdefgh"), "the texts a to h", texts)


@check(
    "L0", "ok-after-taken", "The status OK means that every item was taken or discarded.", rule="Exchange: the consumer"
)
async def ok_after_taken(driver: Driver) -> None:
    async with driver.run("conformance_slow", {"milliseconds": 300}) as run:
        await run.input.texts("a", "b", "c")
        await run.input.end()
        await run.output.items(1)
        expect(not run.input.is_over, "no status while items wait for the node", "the end of the call")
        await run.output.drained()
        run.output.finish()
        code = await run.input.status()
        expect(code.name == "OK", "the status OK", await run.input.described())
        await run.host.finished_well()


@check(
    "L0", "stop", "A node that ends stops its input, and reads on until the half-close.", rule="Exchange: the consumer"
)
async def stop(driver: Driver) -> None:
    async with driver.run("conformance_first", {"count": 2}) as run:
        await run.input.texts("a", "b", "c")
        stopped = await run.input.stopped()
        expect(not stopped.HasField("fault"), "`stop` without a fault", stopped)
        texts = [item.text for item in await run.output.drained()]
        expect(texts == ["a", "b"], 'the texts "a" and "b"', texts)
        run.output.finish()
        await run.input.texts("d", "e")
        await asyncio.sleep(QUIET_SECONDS)
        expect(not run.input.is_over, "a call that is open until the half-close", "the end of the call")
        await run.input.end()
        expect((await run.input.status()).name == "OK", "the status OK", await run.input.described())
        await run.host.ended_as(NODE, COMPLETED)
        await run.host.finished_well()


@check("L0", "stop-passes-on", "A node whose lanes are all stopped stops its inputs.", rule="Exchange: the producer")
async def stop_passes_on(driver: Driver) -> None:
    async with driver.run("conformance_echo") as run:
        await run.input.texts("a")
        await run.output.items(1)
        await run.output.stop()
        await run.input.stopped()
        await run.input.end()
        end = await run.output.ended()
        expect(end.item_count == 1, "`end` with item_count 1", end.item_count)
        run.output.finish()
        await run.host.ended_as(NODE, COMPLETED)
        await run.host.finished_well()


@check(
    "L0",
    "end-alone",
    "Items after a long pause, and an end long after the last item, arrive.",
    rule="Exchange: the consumer",
)
async def end_alone(driver: Driver) -> None:
    async with driver.run("conformance_count") as run:
        await run.input.texts("a")
        await asyncio.sleep(QUIET_SECONDS)
        await run.input.send(lane_pb2.ExchangeRequest())  # a heartbeat
        await run.input.texts("b")
        await asyncio.sleep(QUIET_SECONDS)
        await run.input.end()
        texts = [item.text for item in await run.output.drained()]
        expect(texts == ["2"], 'the text "2"', texts)
        run.output.finish()
        await run.host.finished_well()


@check("L0", "many-items", "Frames of 256 items arrive complete and in order.", rule="Exchange: the consumer")
async def many_items(driver: Driver) -> None:
    async with driver.run("conformance_echo", limit=512) as run:
        wanted = [str(number) for number in range(4096)]

        async def feed() -> None:
            lane = run.input
            for start in range(0, len(wanted), 256):
                await lane.until(lambda: lane.sent + 256 - lane.taken <= 512, f"credit beyond {lane.sent} items")
                await lane.texts(*wanted[start : start + 256])
            await lane.end()

        feeding = asyncio.create_task(feed())
        try:
            came = [item.text for item in await run.output.drained(window=512)]
            await feeding
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        expect(
            came == wanted, "4,096 texts in order", f"{len(came)} texts, the first wrong one at {_first(came, wanted)}"
        )
        await run.output.ended()
        run.output.finish()
        await run.host.finished_well()


def _first(came: Sequence[str], wanted: Sequence[str]) -> int:
    return next(
        (place for place, (one, other) in enumerate(zip(came, wanted, strict=False)) if one != other), len(came)
    )


@check("L0", "large-text", "A text of 1 MiB with characters outside ASCII passes unchanged.", rule="Values")
async def large_text(driver: Driver) -> None:
    async with driver.run("conformance_echo", limit=4) as run:
        text = "ü€😀x" * (1024 * 1024 // 10)
        await run.input.texts(text)
        await run.input.end()
        (item,) = await run.output.drained()
        expect(item.text == text, f"the same {len(text):,} characters", f"{len(item.text):,} characters")
        run.output.finish()
        await run.host.finished_well()


VALUES: dict[str, list[lane_pb2.Item]] = {
    "text": [lane_pb2.Item(text=""), lane_pb2.Item(text="a\u0000\n\u00fc\U0001f600")],
    "questions": [
        lane_pb2.Item(
            question=lane_pb2.Question(
                text="why?",
                instructions="briefly",
                history=[lane_pb2.Message(role="user", content="hello")],
                examples=[lane_pb2.Example(question="1+1", answer="2")],
                documents=[lane_pb2.Document(content="it is so", id="d1", score=0.5)],
                schema_json='{"type":"object"}',
                embedding=[0.5, -1.0],
            )
        )
    ],
    "answers": [
        lane_pb2.Item(answer=lane_pb2.Answer(text="be")),
        lane_pb2.Item(
            answer=lane_pb2.Answer(
                text="cause",
                data_json='{"a":1}',
                finish_reason="stop",
                usage=lane_pb2.Usage(prompt_tokens=3, completion_tokens=2),
            )
        ),
    ],
    "documents": [
        lane_pb2.Item(
            document=lane_pb2.Document(
                content="text", id="d", source="file:a", chunk_index=0, metadata_json='{"page":3}', embedding=[1.0]
            )
        )
    ],
    "table": [
        lane_pb2.Item(
            table=lane_pb2.Table(
                columns=["a", "b"],
                rows=[lane_pb2.TableRow(cells_json=["1", '"x"']), lane_pb2.TableRow(cells_json=["null", "[1.5]"])],
            )
        )
    ],
    "tags": [lane_pb2.Item(tags_json='{"a":1,"b":{"c":[true,null]}}')],
    "image": [lane_pb2.Item(image=lane_pb2.Media(mime_type="image/png", content=b"\x89PNG", width=2, height=3))],
    "audio": [
        lane_pb2.Item(
            audio=lane_pb2.Media(mime_type="audio/wav", content=b"RIFF", timestamp_seconds=0.0, rate=16000, channels=1)
        )
    ],
    "video": [lane_pb2.Item(video=lane_pb2.Media(mime_type="video/mp4", uri="file:///a.mp4"))],
    "data": [
        lane_pb2.Item(data_json=text)
        for text in ("null", "true", "9223372036854775807", "-0.5", '"x"', '[1,{"a":[]}]', '{"k":"v"}')
    ],
}
"""Values of every lane type, in the form in which a server sends them."""


@check("L0", "values", "Values of every lane type pass unchanged.", rule="Values")
async def values(driver: Driver) -> None:
    driver.needs("conformance_values")
    async with _values(driver) as run:
        for port, items in VALUES.items():
            await run.given[port].items(items)
            await run.given[port].end()
        for port, items in VALUES.items():
            lane = run.taken[f"out_{port}"]
            came = await lane.drained()
            same = [_plain(one) for one in came] == [_plain(one) for one in items]
            expect(same, f"the same items of type {port}", f"{came}")
            lane.finish()
        await run.host.finished_well()


def _values(driver: Driver) -> AbstractAsyncContextManager[StartedRun]:
    types = {port: lane_pb2.LaneType.Value(f"LANE_TYPE_{port.upper()}") for port in VALUES}
    edges = [driver.edge_in(port=port, lane_type=kind) for port, kind in types.items()]
    edges += [driver.edge_out(port=f"out_{port}", lane_type=kind) for port, kind in types.items()]
    return driver.run("conformance_values", edges=edges)


def _plain(item: lane_pb2.Item) -> object:
    """The payload of an item, with JSON texts as values: their layout is free."""
    from google.protobuf.json_format import MessageToDict

    def parsed(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: json.loads(inner) if key.endswith("Json") and isinstance(inner, str) else parsed(inner)
                for key, inner in value.items()
                if key not in ("group", "lineage", "metadata", "createdAt")
            }
        if isinstance(value, list):
            return [parsed(inner) for inner in value]
        return value

    return parsed(MessageToDict(item))


@check("L0", "chunks", "Media of more than 1 MiB arrive and leave in chunks, as one item.", rule="Values")
async def chunks(driver: Driver) -> None:
    driver.needs("conformance_values")
    kind = lane_pb2.LANE_TYPE_IMAGE
    edges = [driver.edge_in(port="image", lane_type=kind, limit=1), driver.edge_out(port="out_image", lane_type=kind)]
    content = bytes(range(256)) * (10 * 1024)  # 2.5 MiB
    async with driver.run("conformance_values", edges=edges) as run:
        lane, back = run.given["image"], run.taken["out_image"]
        for start in (0, CHUNK):
            part = lane_pb2.LaneChunk(content=content[start : start + CHUNK])
            await lane.send(lane_pb2.ExchangeRequest(chunk=part))
        last = lane_pb2.Media(mime_type="image/png", content=content[2 * CHUNK :])
        await lane.items([lane_pb2.Item(image=last)])
        await lane.end()
        items = await back.drained()
        expect(len(items) == 1, "one item", len(items))
        whole = back.chunked + items[0].image.content
        expect(whole == content, f"the same {len(content):,} bytes", f"{len(whole):,} bytes")
        expect(len(items[0].image.content) <= CHUNK, "at most 1 MiB in the item", len(items[0].image.content))
        back.finish()
        await run.host.finished_well()
