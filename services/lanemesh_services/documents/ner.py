"""`ner`: names in texts and documents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from lanemesh import Context, Document, In, Json, Node, Out, Whole
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field

from lanemesh_services.documents.inputs import as_document, given_one
from lanemesh_services.documents.privacy.recognition import names_in, pipeline
from lanemesh_services.shared.models import resolve

MAX_ENTITIES = 10_000
"""Most names of one text; further ones are counted and logged."""
DEFAULT_MODEL = "en-core-web-sm"
"""The model of `lanemesh models get`."""


class Ner(Node):
    """Finds names in texts and documents with a model of spaCy: persons, organisations, places, dates and so on.

    The texts pass on unchanged. Documents get the names as `entities` in their metadata.
    """

    class Config(BaseModel):
        """Settings of the recognition."""

        model: str = Field(
            DEFAULT_MODEL,
            description="A model's name or the folder of a spaCy pipeline.",
            json_schema_extra={"format": "path-or-name"},
        )
        labels: list[str] = Field(
            [], max_length=100, description='Labels to keep, such as "PERSON", "ORG", "GPE", "DATE"; empty: all.'
        )

    restartable = True
    pip_extra = "privacy"
    python_packages = ("spacy",)

    text: Annotated[In[Whole[str | None]], "Texts."] = None
    documents: Annotated[In[Document | None], "Documents."] = None

    same: Annotated[Out[str], "The texts, unchanged."]
    tagged: Annotated[Out[Document], "The documents, with their names."]
    entities: Annotated[Out[Json], 'For each text or document a list of {"text", "label", "start", "end"}.']

    @classmethod
    async def load(cls, config: Any) -> Any:
        """The spaCy pipeline. Raises ModelMissing, ModelUnusable or EngineMissing."""
        return await in_thread(_loaded, config.model)

    def process(self, context: Context) -> dict[str, Any]:
        """The names of one text or document."""
        document = as_document(given_one(context.component, text=self.text, documents=self.documents))
        wanted = set(self.config.labels)
        found = [one for one in names_in(self.resource, document.content) if not wanted or one.label in wanted]
        if len(found) > MAX_ENTITIES:
            context.log.warning("%s has %d names, of which %d are kept", document.source, len(found), MAX_ENTITIES)
        names = [
            {"text": document.content[one.start : one.end], "label": one.label, "start": one.start, "end": one.end}
            for one in found[:MAX_ENTITIES]
        ]
        if self.documents is None:
            return {"entities": names, "same": document.content}
        return {"entities": names, "tagged": replace(document, metadata={**document.metadata, "entities": names})}


def _loaded(model: str) -> Any:
    return pipeline(Path(resolve(model, suggested="en-core-web-sm")), "ner")
