"""The nodes in the process of the tests, on either side of those in other languages: what they have sent and taken can be read."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lanemesh import (
    Answer,
    Audio,
    Context,
    Document,
    Image,
    In,
    Inputs,
    Json,
    Node,
    Out,
    Outputs,
    Question,
    Service,
    Table,
    Tags,
    Video,
)
from lanemesh.codec import decode, encode, lane_type_of, make_item
from lanemesh.items import LaneType
from lanemesh.v1 import lane_pb2

from matrix.values import ANSWERS, EVERY_LANE


@dataclass
class Probe:
    """What the nodes of one run have done."""

    emitted: int = 0
    taken: int = 0
    most: int = 0
    """Most items that were emitted and not taken."""
    emitting: bool = False
    """The producer waits in an `emit`, or is in the middle of one. Others see it only while it waits."""
    done: bool = False
    """The producer has emitted all."""
    received: list[lane_pb2.Item] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until_blocked(self, emitted: int = 0) -> None:
        """Waits until the producer has emitted so many items, and its next `emit` waits; or until it has emitted all."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.done or (self.emitting and self.emitted >= emitted))


PROBES: defaultdict[str, Probe] = defaultdict(Probe)
"""By the id of the run."""


class ProbeNumbers(Node):
    """Sends as many numbers as a text says, and counts them."""

    text: In[str]
    number: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        probe = PROBES[context.run_id]
        async for text in inputs.stream("text"):
            for number in range(int(text)):
                probe.emitting = True
                async with probe.changed:
                    probe.changed.notify_all()
                await outputs.emit("number", str(number))
                probe.emitting = False
                probe.emitted += 1
        probe.done = True
        async with probe.changed:
            probe.changed.notify_all()


class ProbeTake(Node):
    """Takes a text whenever the producer is blocked, compares the numbers of both, and sends how many there were."""

    text: In[str]
    count: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        probe = PROBES[context.run_id]
        await probe.until_blocked(1)
        async for _ in inputs.stream("text"):
            probe.taken += 1
            probe.most = max(probe.most, probe.emitted - probe.taken)
            await probe.until_blocked()
        await outputs.emit("count", str(probe.taken))


class ProbeAnswer(Node):
    """Answers each question with `ANSWERS`."""

    questions: In[Question]
    answers: Out[Answer]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Any]]:
        item = encode(LaneType.QUESTIONS, make_item(LaneType.QUESTIONS, self.questions))
        PROBES[context.run_id].received.append(item)
        for answer in ANSWERS:
            yield "answers", decode(LaneType.ANSWERS, answer).value


class ProbeValues(Node):
    """Sends a value of each lane type for each text."""

    text: In[str]
    out_text: Out[str]
    out_questions: Out[Question]
    out_answers: Out[Answer]
    out_documents: Out[Document]
    out_table: Out[Table]
    out_tags: Out[Tags]
    out_image: Out[Image]
    out_audio: Out[Audio]
    out_video: Out[Video]
    out_data: Out[Json]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for _ in inputs.stream("text"):
            for item in EVERY_LANE:
                lane = lane_type_of(item)
                await outputs.emit(f"out_{lane.value}", decode(lane, item).value)


class ProbeCollect(Node):
    """Keeps the values that it gets, and sends their number."""

    text: In[str | None] = None
    questions: In[Question | None] = None
    answers: In[Answer | None] = None
    documents: In[Document | None] = None
    table: In[Table | None] = None
    tags: In[Tags | None] = None
    image: In[Image | None] = None
    audio: In[Audio | None] = None
    video: In[Video | None] = None
    data: In[Json | None] = None
    count: Out[str]

    names: ClassVar = [lane.value for lane in LaneType]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        received = PROBES[context.run_id].received
        async for port, value in inputs.iter_any():
            lane = LaneType(port)
            received.append(encode(lane, make_item(lane, value)))
        await outputs.emit("count", str(len(received)))


SERVICE = Service("probes", [ProbeNumbers, ProbeTake, ProbeAnswer, ProbeValues, ProbeCollect])
