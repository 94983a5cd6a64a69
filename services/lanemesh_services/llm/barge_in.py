"""`barge_in`: answers that end when the speaker begins to speak again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, Any

from lanemesh import (
    AgentThought,
    Answer,
    ChatFinish,
    ChatText,
    Context,
    In,
    Invokes,
    Json,
    Message,
    Node,
    Out,
    Pieces,
    Question,
    ToolCall,
    Usage,
)

from lanemesh_services.llm.errors import one_helper
from lanemesh_services.llm.messages import to_request
from lanemesh_services.llm.nodes import data_of

CANCELLED = "cancelled"
"""The finish reason of an answer that was cancelled."""


@dataclass(slots=True)
class _Turn:
    """What the firings of one component in one run share."""

    speaks: bool = False
    """The speaker speaks: what begins now is not answered."""
    running: set[asyncio.Event] = field(default_factory=set)
    """An event for each answer that is generated; set, it cancels the answer."""

    def mark(self, mark: Any) -> None:
        """Takes a mark of `vad`."""
        event = mark.get("event") if isinstance(mark, dict) else None
        if event in ("start", "end"):
            self.speaks = event == "start"
        if event in ("start", "stop"):
            for cancelled in self.running:
                cancelled.set()


class Turns:
    """The turns of all runs on a node server."""

    def __init__(self) -> None:
        self._turns: dict[tuple[str, str], _Turn] = {}

    def of(self, context: Context) -> _Turn:
        """That of a component in its run."""
        return self._turns.setdefault((context.run_id, context.component), _Turn())

    def forget(self, context: Context) -> None:
        """The component has ended."""
        self._turns.pop((context.run_id, context.component), None)


class BargeIn(Node):
    """Answers questions with the connected model or agent, and cancels the answer when the speaker begins to speak again.

    The model or the agent stops to generate at once. The pieces that were sent stay; the answer ends with the finish reason
    "cancelled". A question that arrives while the speaker speaks gets an empty answer with that reason.
    """

    invokes = (Invokes("llm", 0, 1), Invokes("agent", 0, 1))
    separate_inputs = True
    concurrency = 16

    questions: Annotated[In[Question | None], "What is asked."] = None
    interrupt: Annotated[
        In[Json],
        'The marks of `vad`: {"event": "start"} cancels the answers that are generated, and nothing is answered until '
        '{"event": "end"}. {"event": "stop"} cancels the answers that are generated. Others are ignored.',
    ] = None
    answers: Annotated[
        Out[Answer], "The pieces of the answer, as they are generated; the last one has the finish reason."
    ]
    text: Annotated[Out[Pieces[str]], "Only the text of the answer, in pieces as they are generated."]

    @classmethod
    async def load(cls, config: Any) -> Turns:
        """No turns."""
        return Turns()

    async def finalize(self, context: Context) -> None:
        """Forgets the turn."""
        turns = self.__dict__.get("resource")
        if isinstance(turns, Turns):
            turns.forget(context)

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Takes a mark, or answers one question. Raises LanemeshError if no model and no agent is connected, or both."""
        turn: _Turn = self.resource.of(context)
        if self.questions is None:
            turn.mark(self.interrupt)
            return
        pieces = _answer(context, self.questions)
        complete = False
        cancelled = asyncio.Event()
        if turn.speaks:
            cancelled.set()
        turn.running.add(cancelled)
        try:
            async with aclosing(_until(cancelled, pieces)) as answer:
                async for piece in answer:
                    complete = complete or bool(piece.finish_reason)
                    if piece.text:
                        yield "text", piece.text
                    yield "answers", piece
        finally:
            turn.running.discard(cancelled)
        if cancelled.is_set() and not complete:
            context.log.info("an answer is cancelled: the speaker speaks")
            yield "answers", Answer(finish_reason=CANCELLED)


def _answer(context: Context, question: Question) -> AsyncGenerator[Answer, None]:
    if len(context.llms) + len(context.agents) != 1:
        raise one_helper(context.component)
    return _of_model(context, question) if len(context.llms) else _of_agent(context, question)


async def _of_model(context: Context, question: Question) -> AsyncGenerator[Answer, None]:
    request, usage = to_request(question), None
    pieces: list[str] = []
    stream = context.llm.stream(request.messages, tools=request.tools, schema=request.schema)
    async with aclosing(stream) as events:
        async for event in events:
            match event:
                case ChatText():
                    pieces.append(event.text)
                    yield Answer(event.text)
                case ToolCall():
                    yield Answer(tool_calls=(event,))
                case Usage():
                    usage = event
                case ChatFinish():
                    data = data_of(event.reason, "".join(pieces), request, context)
                    yield Answer(data=data, finish_reason=event.reason, usage=usage)


async def _of_agent(context: Context, question: Question) -> AsyncGenerator[Answer, None]:
    request = to_request(question)
    instructions = "\n\n".join(message.content for message in request.messages if message.role == "system")
    task: list[Message] = [message for message in request.messages if message.role != "system"]
    stream = context.agents[0].stream(task, instructions=instructions, schema=request.schema)
    async with aclosing(stream) as events:
        async for event in events:
            match event.step:
                case Answer() as answer:
                    yield answer
                case AgentThought(text):
                    await context.report_tool(text, wave=event.wave)
                case step:
                    await context.report_tool(step, wave=event.wave)


async def _until(cancelled: asyncio.Event, pieces: AsyncGenerator[Answer, None]) -> AsyncGenerator[Answer, None]:
    """The pieces of an answer until it is cancelled or has ended."""
    stopping = asyncio.ensure_future(cancelled.wait())
    try:
        async with aclosing(pieces):
            while not cancelled.is_set():
                upcoming = asyncio.ensure_future(anext(pieces, None))
                try:
                    await asyncio.wait([upcoming, stopping], return_when=asyncio.FIRST_COMPLETED)
                    if cancelled.is_set() or (piece := await upcoming) is None:
                        return
                finally:
                    upcoming.cancel()
                    await asyncio.gather(upcoming, return_exceptions=True)
                yield piece
    finally:
        stopping.cancel()
        await asyncio.wait([stopping])
