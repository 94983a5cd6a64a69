"""The judgement of the model on a recorded lane: its events become steps of protos/model/replay.pml, which spin executes."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lanemesh.v1 import lane_pb2

from model.recording import Act, End, Event

MODEL = Path(__file__).parents[2] / "protos" / "model"
SPIN_SECONDS = 60.0


def rejection(events: Sequence[Event], edge_limit: int, *, early: bool = False) -> str | None:
    """The first step of a recorded lane that the model does not allow; None if it allows all.

    Args:
        events: the record.
        edge_limit: the limit in items of the edge.
        early: the producer knows that limit, and may send before the lane is accepted.

    Raises:
        RuntimeError: spin could not execute the steps.
    """
    steps = [f"starts({edge_limit if early else 0}, {edge_limit})", *steps_of(events)]
    lines = [f'    d_step {{ {step}; printf("done\\n") }}' for step in steps]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.pml"
        path.write_text("\n".join([f'#include "{MODEL / "replay.pml"}"', "init {", *lines, "}", ""]))
        ran = subprocess.run(
            ["spin", "-T", "-B", str(path)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SPIN_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    done = ran.stdout.split().count("done")
    if done == len(steps) and ran.returncode == 0:
        return None
    if "assertion violated" not in ran.stdout:
        raise RuntimeError(f"spin failed after {done} steps: {ran.stdout}{ran.stderr}")
    return f"step {done}: {steps[done]}"


def steps_of(events: Iterable[Event]) -> Iterator[str]:
    """The steps of a record."""
    for event in events:
        match event.end, event.act:
            case End.PRODUCER, Act.SENT:
                yield from _requests(event.frame, "sends")
            case End.CONSUMER, Act.RECEIVED:
                yield from _requests(event.frame, "receives")
            case End.CONSUMER, Act.SENT:
                yield from _responses(event.frame, "sends")
            case End.PRODUCER, Act.RECEIVED:
                yield from _responses(event.frame, "receives")
            case End.PRODUCER, Act.HALF_CLOSED:
                yield "sends_half_close()"
            case End.CONSUMER, Act.READ_TO_END:
                yield "reads_no_more()"
            case End.CONSUMER, Act.CLOSED:
                yield "sends_closed()"
            case End.PRODUCER, Act.CLOSED:
                yield "receives_closed()"
            case End.CONNECTION, Act.BROKE:
                yield "broken = true"
            case end, Act.BROKE:
                yield f"{end.name.lower()}_sees_break()"
            case End.CONSUMER, Act.REPORTED:
                assert event.ending is not None
                yield f"consumer_reports({event.ending.name}, {event.taken}, {int(event.stopped)})"
            case End.PRODUCER, Act.REPORTED:
                assert event.ending is not None
                yield f"producer_reports({event.ending.name})"


def _requests(frame: object, verb: str) -> Iterator[str]:
    assert isinstance(frame, lane_pb2.ExchangeRequest)
    match frame.WhichOneof("frame"):
        case "open":
            yield f"{verb}_open()"
            if frame.open.HasField("items"):
                yield from _items(frame.open.items, verb)
        case "items":
            yield from _items(frame.items, verb)
        case "end":
            yield _end(frame.end, verb)


def _items(items: lane_pb2.LaneItems, verb: str) -> Iterator[str]:
    """The text of each item ends with its number on the lane, so that a lost, doubled or swapped one shows. A step has consecutive
    numbers."""
    numbers = [int(item.text.lstrip("+")) for item in items.items]
    start = 0
    for position in range(1, len(numbers) + 1):
        if position == len(numbers) or numbers[position] != numbers[position - 1] + 1:
            yield f"{verb}_items({numbers[start]}, {position - start})"
            start = position
    if items.HasField("end"):
        yield _end(items.end, verb)


def _end(end: lane_pb2.LaneEnd, verb: str) -> str:
    return f"{verb}_end({end.item_count}, {int(end.outcome.code != 0)})"


def _responses(frame: object, verb: str) -> Iterator[str]:
    assert isinstance(frame, lane_pb2.ExchangeResponse)
    match frame.WhichOneof("frame"):
        case "accepted":
            yield f"{verb}_accepted({frame.accepted.limit_items})"
        case "credit":
            yield f"{verb}_credit({frame.credit.taken_items}, {frame.credit.limit_items})"
        case "stop":
            yield f"{verb}_stop()"
