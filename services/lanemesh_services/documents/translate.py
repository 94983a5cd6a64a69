"""`translate`: texts and documents in another language, with their structure."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any

from lanemesh import Context, Document, In, Invokes, Node, Out, Pieces, Whole
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field

from lanemesh_services.documents.inputs import as_document, given_one
from lanemesh_services.documents.models import asked, in_order
from lanemesh_services.documents.units import Unit, units_of
from lanemesh_services.shared.instructions import Instructions

TASK = (
    "Translate the text into {language}. Give the translation alone, without quotes and comments. Keep names, numbers, addresses, "
    "code and Markdown as they are."
)
"""What the model is asked for each paragraph."""


class Translate(Node):
    """Translates texts and documents with the connected model.

    Headings, lists, tables, code and blank lines keep their places: paragraphs, headings and entries are translated one by one,
    several at a time, and leave in order. Code is not translated.
    """

    class Config(BaseModel):
        """Settings of the translation."""

        language: str = Field("English", min_length=2, max_length=100, description="The language to translate into.")
        instructions: Instructions = Field("", description="More instructions, such as terms and their translations.")
        paragraph: int = Field(
            4_000,
            ge=200,
            le=100_000,
            description="Most characters that are translated at a time; a longer paragraph is cut.",
        )
        concurrency: int = Field(4, ge=1, le=64, description="How many paragraphs are translated at the same time.")

    invokes = (Invokes("llm"),)
    pip_extra = "documents"
    python_packages = ("langchain_text_splitters",)

    text: Annotated[In[Whole[str | None]], "Texts."] = None
    documents: Annotated[In[Document | None], "Documents."] = None

    translation: Annotated[Out[Pieces[str]], "The translation, in pieces."]
    translated: Annotated[Out[Document], "The translated documents, with `language` in their metadata."]

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Translates one text or document."""
        document = as_document(given_one(context.component, text=self.text, documents=self.documents))
        units = await in_thread(units_of, document.content, self.config.paragraph)
        total = sum(unit.translatable for unit in units)
        pieces: list[str] = []
        done = 0
        async with aclosing(
            in_order(units, lambda unit: self._translated(context, unit, document.source), self.config.concurrency)
        ) as made:
            async for unit, text in made:
                done += unit.translatable
                if total > 1 and unit.translatable:
                    context.progress(done, total, f"translating {document.source or 'a text'}")
                pieces.append(text)
                yield "translation", text
        if self.documents is not None:
            metadata = {**document.metadata, "language": self.config.language}
            yield (
                "translated",
                replace(document, content="".join(pieces), embedding=(), score=None, file=None, metadata=metadata),
            )

    async def _translated(self, context: Context, unit: Unit, source: str) -> tuple[Unit, str]:
        if not unit.translatable:
            return unit, unit.before + unit.text + unit.after
        task = TASK.format(language=self.config.language)
        system = f"{task}\n\n{self.config.instructions}" if self.config.instructions else task
        reply = await asked(context.llm, system, unit.text, "translation", source)
        text = reply.text.strip()
        if not text or (unit.bars and text.count("|") != unit.text.count("|")):
            context.log.warning(
                "%s: %r is left untranslated, since the answer of the model does not fit", source, unit.text[:80]
            )
            text = unit.text
        return unit, unit.before + text + unit.after
