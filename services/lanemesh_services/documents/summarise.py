"""`summarise`: long texts in short."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

from lanemesh import (
    Answer,
    ChatFinish,
    ChatText,
    Context,
    Document,
    In,
    Invokes,
    Message,
    Node,
    Out,
    Pieces,
    Usage,
    Whole,
)
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field

from lanemesh_services.documents.errors import cut_off, several_inputs
from lanemesh_services.documents.models import asked, read_all, summed
from lanemesh_services.documents.parts_of_text import parts_of
from lanemesh_services.shared.instructions import Instructions
from lanemesh_services.shared.unread import text_of

NOTES = (
    "Write down what matters in this part of a longer text, in brief notes. Keep names, numbers and dates. Add nothing."
)
"""What the model does with each part."""


class Summarise(Node):
    """Summarises texts and documents with the connected model.

    A long text is read in parts, several at a time. The model writes notes of each part, then the summary from all notes, which
    streams. If the notes are too long, it writes notes of the notes first.
    """

    class Config(BaseModel):
        """Settings of the summary."""

        instructions: Instructions = Field(
            "Summarise the text in a few sentences. Add nothing that is not in it.",
            description="What the summary is like.",
        )
        part: int = Field(
            8_000,
            ge=200,
            le=1_000_000,
            description="Most characters that the model reads at a time; they must fit into its context.",
        )
        concurrency: int = Field(4, ge=1, le=64, description="How many parts are read at the same time.")

    invokes = (Invokes("llm"),)
    restartable = False
    pip_extra = "documents"
    python_packages = ("langchain_text_splitters",)

    text: Annotated[In[Whole[str | None]], "Texts; each has a summary."] = None
    documents: Annotated[In[list[Document]], "Documents; all together have one summary."] = []  # noqa: RUF012

    answers: Annotated[Out[Answer], "The summary, as it is written."]
    summary: Annotated[Out[Pieces[str]], "The same as text."]

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Writes one summary."""
        if self.text is not None and self.documents:
            raise several_inputs(context.component, ("text", "documents"))
        source = ", ".join(dict.fromkeys(document.source for document in self.documents if document.source))[:200]
        text = "\n\n".join(map(text_of, self.documents)) if self.documents else (self.text or "")
        if not text.strip():
            context.log.warning("a text without words has an empty summary")
            yield "answers", Answer(finish_reason="stop")
            return
        usages: list[Usage | None] = []
        async with aclosing(self._written(context, await self._notes(context, text, source, usages), usages)) as pieces:
            async for answer in pieces:
                if answer.finish_reason == "length":
                    raise cut_off("summary", source)
                yield "answers", answer
                if answer.text:
                    yield "summary", answer.text

    async def _notes(self, context: Context, text: str, source: str, usages: list[Usage | None]) -> str:
        """The text itself if it is short enough, else notes of it."""
        size, level = self.config.part, 0
        while len(parts := await in_thread(parts_of, text, size)) > 1:
            level += 1
            notes = await self._notes_of(context, parts, source, usages)
            most = size // 4  # so that four notes or more make one part, and every level is shorter than the last
            if long := sum(len(note) > most for note in notes):
                context.log.warning(
                    "%d of %d notes are cut to %d characters; raise config.part", long, len(notes), most
                )
            text = "\n\n".join(note[:most] for note in notes)
        return text

    async def _notes_of(
        self, context: Context, parts: Sequence[str], source: str, usages: list[Usage | None]
    ) -> list[str]:
        async def note(part: str) -> str:
            reply = await asked(context.llm, NOTES, part, "note", source)
            usages.append(reply.usage)
            return reply.text.strip()

        return await read_all(context, parts, note, self.config.concurrency, source)

    async def _written(self, context: Context, text: str, usages: list[Usage | None]) -> AsyncGenerator[Answer, None]:
        turns = (Message("system", self.config.instructions), Message("user", text))
        async with aclosing(context.llm.stream(turns)) as events:
            async for event in events:
                match event:
                    case ChatText():
                        yield Answer(event.text)
                    case Usage():
                        usages.append(event)
                    case ChatFinish():
                        yield Answer(finish_reason=event.reason, usage=summed(usages))
