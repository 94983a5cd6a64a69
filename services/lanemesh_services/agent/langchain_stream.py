"""The answer of a graph of LangGraph, piece by piece as its models write it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from lanemesh import Answer
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langgraph.errors import GraphRecursionError

from lanemesh_services.agent.answer_gate import AnswerGate


async def answer_of(
    graph: Any, messages: Sequence[BaseMessage], *, max_steps: int, holdback: int
) -> AsyncGenerator[str | Answer, None]:
    """Runs a graph on a conversation. Yields pieces of the answer: the text of every turn without tool calls, separated by empty
    lines.

    Args:
        graph: a compiled graph whose state has `messages`.
        messages: the conversation.
        max_steps: most steps of the graph; then the answer ends with a note and the finish reason "length".
        holdback: how many characters of a turn are held back in case they are a thought; 0: none.
    """
    turns = _Turns(holdback)
    stream = graph.astream(
        {"messages": list(messages)}, {"recursion_limit": max_steps}, stream_mode=["messages", "updates"]
    )
    try:
        async with aclosing(stream) as events:
            async for mode, payload in events:
                if mode == "messages":
                    if piece := turns.add(payload[0]):
                        yield piece
                elif (data := _structured(payload)) is not None:
                    yield Answer(data=data)
    except GraphRecursionError:
        if piece := turns.end():
            yield piece
        yield turns.separated(f"[Stopped after {max_steps} steps, the limit of max_waves.]")
        yield Answer(finish_reason="length")
    if piece := turns.end():
        yield piece


class _Turns:
    """Separates the texts of turns into answer and thoughts."""

    def __init__(self, holdback: int) -> None:
        self._holdback = holdback
        self._gate = AnswerGate(holdback)
        self._id: str | None = None
        self._answered = False
        self._paragraph = False

    def add(self, message: BaseMessage) -> str:
        """Adds a message or a chunk of one; returns the next piece of the answer."""
        if not isinstance(message, AIMessage):
            return ""
        before = self.end() if message.id != self._id else ""
        self._id = message.id
        if message.tool_calls or (isinstance(message, AIMessageChunk) and message.tool_call_chunks):
            self._gate.tool_call()
        return before + self._piece(self._gate.push(str(message.text)))

    def end(self) -> str:
        """Ends the turn; returns the rest of its answer."""
        rest, _ = self._gate.finish()
        piece = self._piece(rest)
        self._gate = AnswerGate(self._holdback)
        self._paragraph = self._answered
        return piece

    def separated(self, text: str) -> str:
        """A text as a paragraph of its own."""
        return f"\n\n{text}" if self._answered else text

    def _piece(self, text: str) -> str:
        if not text:
            return ""
        separated, self._paragraph = f"\n\n{text}" if self._paragraph else text, False
        self._answered = True
        return separated


def _structured(updates: Any) -> Any:
    """The answer's data, as `create_agent` leaves it in the state; None if these updates have none."""
    found = [
        update["structured_response"]
        for update in updates.values()
        if isinstance(update, dict) and "structured_response" in update
    ]
    return found[-1] if found else None
