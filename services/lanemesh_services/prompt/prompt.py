"""A template over a question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from lanemesh import Context, Document, In, Node, Out, Question
from pydantic import BaseModel, Field

from lanemesh_services.shared.instructions import Instructions
from lanemesh_services.shared.unread import text_of

_PLACE = re.compile(r"\{(question|documents)\}")


class Prompt(Node):
    """Formats each question by a template, with documents if some are connected.

    `{question}` and `{documents}` in the template are replaced; all other braces stay. Documents of the input `documents` are
    collected first; then every question has all of them and its own. Without `{documents}` in the template they remain in the
    question, and the model's node formats them.
    """

    class Config(BaseModel):
        """Settings of a prompt."""

        template: str = Field(
            "{question}",
            pattern=r"\{question\}",
            max_length=1_000_000,
            description="The text of the new question; it must contain {question}, and may contain {documents}.",
        )
        instructions: Instructions = Field(
            "", description="Instructions for the model; they precede those of the question."
        )
        document: str = Field(
            "[{number}] {content}",
            pattern=r"\{content\}",
            description="Format of each document; {content}, {number}, {source}, {id} are replaced.",
        )
        separator: str = Field("\n\n", description="Separator between two documents.")

    restartable = True
    questions: Annotated[In[Question], "What is asked."]
    documents: Annotated[
        In[list[Document]], "Documents to answer from; all are collected before the first question."
    ] = []  # noqa: RUF012
    prompts: Annotated[Out[Question], "The questions, formatted by the template."]

    async def process(self, context: Context) -> dict[str, Any]:
        """One question."""
        question, config = self.questions, self.config
        documents = tuple(dict.fromkeys((*question.documents, *self.documents)))  # a store sends them by both lanes
        in_template = "{documents}" in config.template
        values = {
            "question": question.text,
            "documents": _written(documents, config.document, config.separator) if in_template else "",
        }
        return {
            "prompts": replace(
                question,
                text=_PLACE.sub(lambda place: values[place[1]], config.template),
                instructions="\n\n".join(part for part in (config.instructions, question.instructions) if part),
                documents=() if in_template else documents,
            )
        }


def _written(documents: Sequence[Document], form: str, separator: str) -> str:
    places = re.compile(r"\{(content|number|source|id)\}")
    written = []
    for number, document in enumerate(documents, start=1):
        values = {"content": text_of(document), "number": str(number), "source": document.source, "id": document.id}
        written.append(places.sub(lambda place, values=values: values[place[1]], form))  # type: ignore[misc]
    return separator.join(written)
