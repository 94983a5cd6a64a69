"""What all nodes of stores share: documents are stored, and questions are answered with documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from lanemesh import Answer, Context, Document, In, Node, Out, Question
from lanemesh.extend import in_thread, not_permitted
from pydantic import BaseModel, Field, field_validator

from lanemesh_services.search.errors import (
    StoreFailed,
    name_of,
    no_embedding,
    no_source,
    other_dimension,
)
from lanemesh_services.search.filters import parse_filter
from lanemesh_services.search.group_commit import GroupCommit
from lanemesh_services.search.replaced_sources import ReplacedSources, SourcesOfRun
from lanemesh_services.search.store import MAX_LIMIT, Mode, Query, Store, identified, latest_by_key, search

DELETED = "deleted"
"""Key of the metadata that marks the removal of a source: `Document("", source="a.pdf", metadata={"deleted": True})`."""

CollectionName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=60,
        pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$",
        description="Name of the collection. The first documents make it.",
    ),
]


class StoreConfig(BaseModel):
    """Settings that all stores have."""

    collection: CollectionName = "documents"
    limit: int = Field(5, ge=1, le=MAX_LIMIT, description="Most documents for a question.")
    search: Mode = Field(
        "vector",
        description='"vector": documents with a similar meaning, "text": those with the same words, "hybrid": both, fused by their '
        "ranks.",
    )
    min_score: float | None = Field(
        None, ge=-1, le=1, description='Least cosine of a document, with search "vector"; null: any.'
    )
    filter: dict[str, Any] = Field(
        default={},
        description='Which documents are searched, by source, id, chunk_index or keys of their metadata: {"language": "en", '
        '"page": {"gte": 2}, "tag": ["a", "b"]}.',
    )
    replace_source: bool = Field(
        False,
        description="The first document of a source in a run removes those that earlier runs have stored of it.",
    )

    @field_validator("filter")
    @classmethod
    def _has_the_form_of_filters(cls, raw: dict[str, Any]) -> dict[str, Any]:
        parse_filter(raw)
        return raw


class OpenStore:
    """A store that the components of one config on a node server share."""

    def __init__(self, store: Store, host: tuple[str, int] | None = None) -> None:
        """`host` is the name and the port of the store's server; None: it is on this host."""
        self.store = store
        self.host = host
        self.replaced = ReplacedSources()
        self.writes = GroupCommit(self._write)

    def _write(self, documents: Sequence[tuple[Document, SourcesOfRun | None]]) -> None:
        """Stores documents in their order, all or none. One that is marked as deleted, and the first one of its source in a run,
        remove the others of their source."""
        kept: list[Document] = []
        removed: set[str] = set()
        firsts: set[tuple[SourcesOfRun, str]] = set()
        for document, run in documents:
            source, deleted = document.source, bool(document.metadata.get(DELETED))
            first = run is not None and (run, source) not in firsts and run.is_first(source)
            if run is not None and first:
                firsts.add((run, source))
            if deleted or first:
                removed.add(source)
                kept = [other for other in kept if other.source != source]
            if not deleted:
                kept.append(document)
        if kept:
            self.store.put(list(latest_by_key(kept).values()), replaced=sorted(removed))
        elif removed:
            self.store.delete(sorted(removed))
        for run, source in firsts:
            run.add(source)


class StoreNode(Node):
    """Base of all nodes of stores."""

    separate_inputs = True
    concurrency = 64

    documents: Annotated[In[Document | None], "Documents with embeddings, which are stored."] = None
    questions: Annotated[In[Question | None], "Questions that are answered with documents."] = None
    found: Annotated[Out[Document], "The documents that were found for each question, the best one first."]
    answers: Annotated[Out[Answer], "All documents of a question as one text."]
    asked: Annotated[Out[Question], "The questions, with the documents that were found."]

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Closes the store."""
        await resource.writes.close()
        await in_thread(resource.store.close)

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Stores a document, or searches for a question."""
        self._check_host(context)
        if self.documents is not None:
            await self._stored(context, self.documents)
        if self.questions is None:
            return
        await self.resource.writes.settled()
        found = await self._found(context, self.questions)
        for document in found:
            yield "found", document
        yield "answers", Answer("\n\n".join(map(_shown, found)) or "No documents.", finish_reason="stop")
        yield "asked", replace(self.questions, documents=(*self.questions.documents, *found))

    async def finalize(self, context: Context) -> None:
        """Forgets which sources the run has replaced."""
        resource = self.__dict__.get("resource")
        if isinstance(resource, OpenStore):
            resource.replaced.forget(context)

    async def _stored(self, context: Context, document: Document) -> None:
        deleted = bool(document.metadata.get(DELETED))
        if deleted and not document.source:
            raise no_source(context.component)
        if not deleted and not any(document.embedding):
            raise no_embedding(context.component, name_of(document))
        replaces = self.config.replace_source and document.source and not deleted
        run = self.resource.replaced.of(context) if replaces else None
        try:
            await self.resource.writes.put(identified(document), run)
        except StoreFailed as failed:
            if failed.fault.reason == "other-dimension":  # errors of a store do not know the document
                details = failed.fault.details
                raise other_dimension(
                    f"{context.component}: {name_of(document)}",
                    details["collection"],
                    int(details["has"]),
                    int(details["got"]),
                ) from None
            raise

    async def _found(self, context: Context, question: Question) -> list[Document]:
        mode = self.config.search
        if mode != "text" and not any(question.embedding):
            raise no_embedding(context.component, f'the question "{question.text[:80]}"')
        query = Query(question.text, question.embedding, self.config.limit, parse_filter(self.config.filter))
        found: list[Document] = await in_thread(search, self.resource.store, query, mode)
        if mode == "vector" and self.config.min_score is not None:
            found = [document for document in found if (document.score or 0.0) >= self.config.min_score]
        if not found and not await in_thread(self.resource.store.count):
            context.log.warning("%s has no documents yet", self.resource.store.where)
        return found

    def _check_host(self, context: Context) -> None:
        """Raises LanemeshError if the node server does not permit a connection to the store's host."""
        if self.resource.host is None:
            return
        host, port = self.resource.host
        if not context.permissions.allows_host(host, port):
            raise not_permitted(context.component, f"connect to {host}:{port}", f"host:{host}:{port}")


def _shown(document: Document) -> str:
    return f"{document.source}\n{document.content}".strip()
