"""The part of one run in its session: the history that its first question gets, and the turn that it becomes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from lanemesh.codec import encode, make_item
from lanemesh.faults import LanemeshError
from lanemesh.items import LaneType
from lanemesh.node.context import ClientInput
from lanemesh.text_outputs import TextOutputs
from lanemesh.times import stamp
from lanemesh.v1 import lane_pb2, run_pb2, session_pb2, update_pb2
from lanemesh.values import Message, Question

if TYPE_CHECKING:
    from lanemesh_orchestrator.runs.update_log import UpdateLog

MAX_ANSWER = 256 * 1024
"""Most characters of an answer that a turn keeps."""
MAX_QUESTION_BYTES = 1024 * 1024
"""Most bytes of a question that a turn keeps with its images and documents; of a larger one its text is kept."""
MAX_QUESTION_TEXT = 256 * 1024
"""Most characters of the text of a question that a turn keeps."""
TITLE_CHARACTERS = 80

log = logging.getLogger("lanemesh.sessions")

Write = Callable[[session_pb2.Session, session_pb2.Turn], Awaitable[None]]


class RecordedRun(Protocol):
    """What is read of a run."""

    id: str
    owned: bool
    state: update_pb2.RunState.ValueType
    log: UpdateLog
    ended: asyncio.Event
    """Set after its terminal update."""


class Conversation:
    """What a run does for its session."""

    def __init__(
        self,
        session: session_pb2.Session,
        history: Sequence[Message],
        begin: Write,
        end: Write,
        *,
        append_history: bool = False,
    ) -> None:
        """The part of a run.

        Args:
            session: the session.
            history: its earlier turns, oldest first.
            begin: stores a new turn.
            end: stores a turn whose run has ended.
            append_history: the history of the question follows that of the session, and is kept in the turn.
        """
        self._append = append_history
        self.session = session
        self._history = tuple(history)
        self._begin = begin
        self._end = end
        self._question: lane_pb2.Question | None = None
        self._asked = asyncio.Event()

    def take(self, given: ClientInput, *, takes_questions: bool) -> ClientInput:
        """Takes the first text or question of the run as the turn. Returns the input for the source: with the history, unless it
        has one of its own that is not appended, or the source accepts no questions."""
        value = given.item.value
        if self._question is not None or not isinstance(value, (str, Question)):
            return given
        question = Question(value) if isinstance(value, str) else value
        self._question = _kept(question if self._append else replace(question, history=()))
        self._asked.set()
        replaces = bool(question.history) and not self._append
        if replaces or not self._history or not takes_questions:
            return given
        asked = replace(question, history=consistent((*self._history, *question.history)))
        item = make_item(LaneType.QUESTIONS, asked, given.item.envelope, where="the session")
        return ClientInput(given.port, item, LaneType.QUESTIONS.value)

    async def record(self, run: RecordedRun) -> None:
        """Records the run as a turn, until it has ended. A run without a question is none."""
        asked = asyncio.ensure_future(self._asked.wait())
        ended = asyncio.ensure_future(run.ended.wait())
        try:
            await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            ended.cancel()
        if self._question is None:
            return
        turn = session_pb2.Turn(run_id=run.id, question=self._question, state=update_pb2.RUN_STATE_RUNNING)
        stamp(turn.created_at)
        if not self.session.title:
            self.session.title = " ".join(self._question.text[: 4 * TITLE_CHARACTERS].split())[:TITLE_CHARACTERS]
        try:
            await self._begin(self.session, turn)
            answer = _AnswerText()
            async with aclosing(run.log.batches(1, paces=not run.owned)) as batches:
                async for batch in batches:
                    if isinstance(batch, run_pb2.Gap):
                        answer.truncated = True
                        continue
                    for entry in batch:
                        answer.add(entry)
            answer.write_to(turn)
            turn.state = run.state
            stamp(turn.ended_at)
            await self._end(self.session, turn)
        except LanemeshError as error:
            log.error("the turn of run %s is not kept in its session: %s", run.id, error.fault.message)


class _AnswerText:
    """The answer of a run: the outputs of the target that delivers answers, else of the first that delivers text."""

    def __init__(self) -> None:
        self.truncated = False
        """Updates of the run are missing."""
        self._cut: set[tuple[str, str]] = set()
        """The targets of which not everything is kept."""
        self._texts: dict[tuple[str, str], list[str]] = {}
        self._answers: dict[tuple[str, str], lane_pb2.Answer] = {}
        self._sizes: Counter[tuple[str, str]] = Counter()
        """What is kept of each target, so that one which writes much does not displace the answer of another."""

    def add(self, entry: update_pb2.Update | TextOutputs) -> None:
        """Adds an update of the run."""
        if isinstance(entry, TextOutputs):
            for text in entry.texts:
                self._add_text((entry.component, entry.port), text)
        elif entry.WhichOneof("kind") == "output":
            output = entry.output
            place = output.component, output.port
            kind = output.item.WhichOneof("payload")
            if kind == "text":
                self._add_text(place, output.item.text)
            elif kind == "answer":
                answer = self._answers.setdefault(place, lane_pb2.Answer())
                piece = output.item.answer
                self._add_text(place, piece.text)
                for call in piece.tool_calls:
                    self._add_call(place, answer, call)
                answer.finish_reason = piece.finish_reason or answer.finish_reason
                if piece.data_json and len(piece.data_json) <= MAX_ANSWER:
                    answer.data_json = piece.data_json
                if piece.HasField("usage"):
                    answer.usage.CopyFrom(piece.usage)

    def write_to(self, turn: session_pb2.Turn) -> None:
        """Sets the answer of a turn."""
        place = next(iter(self._answers or self._texts), None)
        turn.answer.SetInParent()
        if place is not None:
            turn.answer.CopyFrom(self._answers.get(place, lane_pb2.Answer()))
            turn.answer.text = "".join(self._texts.get(place, ()))
        turn.truncated = self.truncated or place in self._cut

    def _add_call(self, place: tuple[str, str], answer: lane_pb2.Answer, call: lane_pb2.ToolCall) -> None:
        size = call.ByteSize()
        if self._sizes[place] + size <= MAX_ANSWER:
            self._sizes[place] += size
            answer.tool_calls.append(call)
        else:
            self._cut.add(place)

    def _add_text(self, place: tuple[str, str], text: str) -> None:
        kept = text[: max(0, MAX_ANSWER - self._sizes[place])]
        self._sizes[place] += len(kept)
        if len(kept) < len(text):
            self._cut.add(place)
        if kept:
            self._texts.setdefault(place, []).append(kept)


def consistent(messages: Sequence[Message]) -> tuple[Message, ...]:
    """A history without the tool calls of a turn that were not all answered, and without results of other calls."""
    kept: list[Message] = []
    place = 0
    while place < len(messages):
        message = messages[place]
        place += 1
        results = []
        while place < len(messages) and messages[place].role == "tool":
            results.append(messages[place])
            place += 1
        answered = message.role == "assistant" and {one.tool_call_id for one in results} == {
            call.id for call in message.tool_calls
        }
        if answered:
            kept += [message, *results]
        elif message.role != "tool" and (message.content or message.images or not message.tool_calls):
            kept.append(replace(message, tool_calls=()))
    return tuple(kept)


def _kept(question: Question) -> lane_pb2.Question:
    """What a turn keeps of its question: of a large one its text."""
    alone = replace(question, embedding=())
    message = encode(LaneType.QUESTIONS, make_item(LaneType.QUESTIONS, alone, where="the session")).question
    if message.ByteSize() <= MAX_QUESTION_BYTES:
        return message
    return lane_pb2.Question(text=question.text[:MAX_QUESTION_TEXT], instructions=question.instructions[:4_096])
