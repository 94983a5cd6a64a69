"""What the targets of a run deliver, kept for the answer of a webhook."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from lanemesh.client.detached import DetachedRun
from lanemesh.client.run_reader import RunReader
from lanemesh.client.updates import OutputUpdate
from lanemesh.client.views import text_of
from lanemesh.codec import encode, make_item
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.assembler import JOINS, join_documents
from lanemesh.values import Answer, Document, Media

from lanemesh_orchestrator.item_json import value_json
from lanemesh_orchestrator.reasons import Reason


class AnswerTooLarge(LanemeshError):
    """The outputs of a run do not fit the answer of a webhook, or are no longer kept."""


@dataclass(slots=True)
class Whole:
    """A value, or the pieces of one."""

    lane: LaneType
    """Its lane."""
    pieces: list[OutputUpdate] = field(default_factory=list)
    """The pieces, in order."""

    @property
    def text(self) -> str | None:
        """Its text; None if it is of another kind, or an answer with data."""
        if self.lane not in (LaneType.TEXT, LaneType.ANSWERS) or self.data is not None:
            return None
        return "".join(map(text_of, self.pieces))

    @property
    def data(self) -> Any:
        """The data of an answer; None if it has none."""
        values = [piece.value for piece in self.pieces if isinstance(piece.value, Answer)]
        return next((value.data for value in values if value.data is not None), None)

    @property
    def media(self) -> Media | None:
        """Its media, assembled; None if it is of another kind."""
        first = self.pieces[0].value
        if not isinstance(first, Media) or len(self.pieces) == 1:
            return first if isinstance(first, Media) else None
        return dataclasses.replace(first, content=b"".join(piece.value.content for piece in self.pieces))

    def to_json(self) -> Any:
        """It as JSON: a text, the data of an answer, or the form of the lane."""
        if self.text is not None:
            return self.text
        if self.data is not None:
            return self.data
        value = self.media or self._value()
        return value_json(encode(self.lane, make_item(self.lane, value)))

    def _value(self) -> Any:
        """The value; of the pieces of a document the whole."""
        values = [piece.value for piece in self.pieces]
        return join_documents(values) if isinstance(values[0], Document) else values[0]


Place = tuple[str, LaneType, str]
"""Where the pieces of a value belong: the target, the lane, and the id of the group."""

_OWNED = ", so it was cancelled. Read its events with Accept: text/event-stream instead"
_DETACHED = (
    ", too many for this answer. It was not cancelled: send the request again with the same Idempotency-Key and Accept: "
    "text/event-stream to read its events, or GET /v1/runs/{}/events"
)


@dataclass(slots=True)
class Delivered:
    """The outputs of a run by target."""

    limit: int
    """Most bytes of them."""
    if_larger: str
    """What becomes of the run, and what to do, if there are more."""
    size: int = 0
    """Bytes of them so far."""
    targets: dict[str, list[Whole]] = field(default_factory=dict)
    """The values that reached each target, by the name of its result, or else its id."""
    _pieced: dict[Place, Whole] = field(default_factory=dict)
    """The values in pieces."""

    def add(self, output: OutputUpdate) -> None:
        """Adds an output. Raises AnswerTooLarge if the outputs are too large."""
        lane = LaneType(output.lane)
        self.size += make_item(lane, output.value).size
        if self.size > self.limit:
            message = f"the run delivers more than {self.limit:,} bytes{self.if_larger}"
            raise AnswerTooLarge(Fault(code=Code.OUT_OF_RANGE, reason=Reason.ANSWER_TOO_LARGE, message=message))
        place: Place | None = None
        if output.group is not None and lane in JOINS:  # a value of another lane is whole, also in a group
            place = output.key, lane, output.group.id
        whole = self._pieced.get(place) if place is not None else None
        if whole is None:
            whole = Whole(lane)
            self.targets.setdefault(output.key, []).append(whole)
            if place is not None:
                self._pieced[place] = whole
        whole.pieces.append(output)


async def deliver(run: RunReader, limit: int) -> Delivered:
    """Reads the outputs of a run to its end.

    Raises:
        RunFailed: it failed or was cancelled.
        AnswerTooLarge: the outputs are larger than `limit` bytes, or some are no longer kept. A detached run continues: the
            requests of its key share it, and those that read its events have no limit.
    """
    delivered = Delivered(limit, _DETACHED.format(run.id) if isinstance(run, DetachedRun) else _OWNED)
    async for output in run.outputs():
        delivered.add(output)
    if getattr(run, "missed", 0):
        message = f"some outputs of run {run.id} are no longer kept. GET /v1/runs/{run.id} has its record"
        raise AnswerTooLarge(Fault(code=Code.DATA_LOSS, reason=Reason.ANSWER_TOO_LARGE, message=message))
    return delivered


def component_json(wholes: list[Whole]) -> Any:
    """The values of a target as JSON: their text if all are text, one value, a list of several, or null."""
    texts = [whole.text for whole in wholes]
    if texts and None not in texts:
        return "".join(text for text in texts if text is not None)
    values = [whole.to_json() for whole in wholes]
    return values[0] if len(values) == 1 else values or None
