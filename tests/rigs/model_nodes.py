"""Node types of pipelines that are models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from lanemesh import Answer, ChatEvent, ChatFinish, ChatRequest, Context, Document, In, Node, Out, Question
from lanemesh.codec import encode, make_item
from lanemesh.items import LaneType
from lanemesh_orchestrator.item_json import value_json
from pydantic import BaseModel, Field


class NotedQuestion(Node):
    """Answers each question with the question itself, as data."""

    offers = ("llm",)

    class Config(BaseModel):
        """Settings."""

        temperature: float = Field(0.5, ge=0, le=2, description="Repeated in the answer.")
        max_tokens: int = Field(100, ge=1, description="Repeated in the answer.")

    questions: In[Question]
    answers: Out[Answer]

    async def process(self, context: Context) -> dict[str, Any]:
        """One question."""
        question = value_json(encode(LaneType.QUESTIONS, make_item(LaneType.QUESTIONS, self.questions)))
        settings = {"temperature": self.config.temperature, "max_tokens": self.config.max_tokens}
        return {"answers": Answer(data={"question": question, "settings": settings}, finish_reason="stop")}

    async def chat(self, context: Context, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """It has no invoker."""
        yield ChatFinish()


class EndlessAnswer(Node):
    """Announces each question on the channel "mesh:asked", writes a word, and never ends."""

    questions: In[Question]
    answers: Out[Answer]

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Answer], None]:
        """One question."""
        yield "answers", Answer("word")
        await context.channels.publish("mesh:asked", self.questions.text)
        await asyncio.Event().wait()


class HeldAnswer(Node):
    """Announces each question on the channel "mesh:asked", writes a word after a message on "mesh:go", and never ends."""

    questions: In[Question]
    answers: Out[Answer]

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Answer], None]:
        """One question."""
        async with context.channels.subscribe("mesh:go") as go:
            await context.channels.publish("mesh:asked", self.questions.text)
            await anext(aiter(go))
        yield "answers", Answer("word")
        await asyncio.Event().wait()


class Embedder(Node):
    """Makes an embedding of each text: its length, and its number of words."""

    text: In[str]
    documents: Out[Document]

    async def process(self, context: Context) -> dict[str, Any]:
        """One text."""
        numbers = (float(len(self.text)), float(len(self.text.split())))
        return {"documents": Document(self.text, embedding=numbers)}


class NumberLister(Node):
    """Makes an embedding of each question, as data."""

    questions: In[Question]
    data: Out[Any]

    async def process(self, context: Context) -> dict[str, Any]:
        """One question."""
        return {"data": [len(self.questions.text), 0.5]}


class PausedAnswer(Node):
    """Answers with words, and fails at a text."""

    text: In[str]
    replies: Out[str]

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, str], None]:
        """One text."""
        for word in self.text.split():
            if word == "fail":
                raise ValueError("it was told to fail")
            yield "replies", word


class PlainDocument(Node):
    """Makes a document without an embedding of each text."""

    text: In[str]
    documents: Out[Document]

    async def process(self, context: Context) -> dict[str, Any]:
        """One text."""
        return {"documents": Document(self.text)}
