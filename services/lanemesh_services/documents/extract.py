"""`extract`: the facts of a schema from texts and documents."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from lanemesh import (
    Answer,
    ChatReply,
    Context,
    Document,
    In,
    Invokes,
    Json,
    LanemeshError,
    Message,
    Node,
    Out,
    Usage,
    Whole,
)
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field

from lanemesh_services.documents.errors import cut_off, not_followed
from lanemesh_services.documents.extraction import Schema, json_in, merged
from lanemesh_services.documents.inputs import as_document, given_one
from lanemesh_services.documents.models import read_all, summed
from lanemesh_services.documents.parts_of_text import parts_of
from lanemesh_services.shared.instructions import Instructions

TASK = (
    "Extract what the JSON schema asks for from the text. Answer with JSON that follows the schema, and nothing else. "
    "Take values from the text alone; leave out what it does not have."
)
"""What the model is asked."""


class Extract(Node):
    """Extracts JSON by a schema from texts and documents with the connected model.

    The answer is checked. If it does not follow the schema, the model gets the reason and answers once more; then it is an error. A
    long text is read in parts, whose results are merged: lists are joined, and of other values the first one counts.
    """

    class Config(BaseModel):
        """Settings of the extraction."""

        schema_: dict[str, Any] = Field(
            alias="schema",
            description='The JSON schema of the result: an object, such as {"type": "object", "properties": {...}}.',
        )
        instructions: Instructions = Field("", description="More instructions, such as what a field means.")
        part: int = Field(
            12_000,
            ge=200,
            le=1_000_000,
            description="Most characters that the model reads at a time; they must fit into its context.",
        )
        concurrency: int = Field(4, ge=1, le=64, description="How many parts are read at the same time.")

    invokes = (Invokes("llm"),)
    pip_extra = "documents"
    python_packages = ("langchain_text_splitters",)

    text: Annotated[In[Whole[str | None]], "Texts."] = None
    documents: Annotated[In[Document | None], "Documents."] = None

    data: Annotated[Out[Json], "The result for each text or document."]
    answers: Annotated[Out[Answer], "The same as an answer, with what the model used."]
    enriched: Annotated[Out[Document], "The documents, with the result as `extracted` in their metadata."]

    @classmethod
    async def load(cls, config: Any) -> Schema:
        """The schema. Raises LanemeshError if it is invalid ("bad-schema")."""
        return Schema.of(config.schema_)

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Extracts from one text or document."""
        document = as_document(given_one(context.component, text=self.text, documents=self.documents))
        usages: list[Usage | None] = []
        parts = await in_thread(parts_of, document.content, self.config.part)
        result = await self._result(context, parts, document.source, usages)
        yield "data", result
        yield "answers", Answer(data=result, finish_reason="stop", usage=summed(usages))
        if self.documents is not None:
            yield "enriched", replace(document, metadata={**document.metadata, "extracted": result})

    async def _result(self, context: Context, parts: Sequence[str], source: str, usages: list[Usage | None]) -> Any:
        if len(parts) <= 1:
            return await self._extracted(context, self.resource, parts[0] if parts else "", source, usages)
        partial = self.resource.without_required()

        async def extract(part: str) -> Any:
            return await self._extracted(context, partial, part, source, usages)

        found = await read_all(context, parts, extract, self.config.concurrency, source)
        result, problems = await in_thread(self._joined, found)
        if problems:
            raise not_followed(problems, source)
        return result

    def _joined(self, found: Sequence[Any]) -> tuple[Any, str]:
        """The results of all parts as one, and why it does not follow the schema."""
        result = merged(found)
        return result, self.resource.problems(result)

    async def _extracted(
        self, context: Context, schema: Schema, text: str, source: str, usages: list[Usage | None]
    ) -> Any:
        """The result for a part: of the first answer, or of the second one. Raises LanemeshError if neither follows the schema."""
        asked = json.dumps(schema.schema, ensure_ascii=False)
        system = "\n\n".join(part for part in (TASK, self.config.instructions, f"JSON schema: {asked}") if part)
        turns = [Message("system", system), Message("user", text)]
        problems = ""
        for attempt in (1, 2):
            try:
                reply: ChatReply = await context.llm.chat(turns, schema=schema.schema)
            except LanemeshError as error:
                if error.fault.details.get("field") != "json_schema" or not error.fault.details.get("problem"):
                    raise
                problems, answer = error.fault.details["problem"], ""
            else:
                usages.append(reply.usage)
                if reply.finish_reason == "length":
                    raise cut_off("JSON", source)
                value, problems = json_in(reply.text)
                problems = problems or schema.problems(value)
                answer = reply.text
                if not problems:
                    return value
            if attempt == 1:
                context.log.info("%s: the answer does not follow the schema: %s", source, problems)
                repair = (
                    f"Your answer does not follow the schema: {problems}. Give the whole JSON again, and nothing else."
                )
                turns += [Message("assistant", answer), Message("user", repair)]
        raise not_followed(problems, source)
