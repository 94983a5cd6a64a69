"""The nodes that order the documents of a question anew."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from lanemesh import Context, Document, In, Node, Out, Question
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field, field_validator

from lanemesh_services.search.hosted_embedding import ServerConfig
from lanemesh_services.search.json_api import JsonApi
from lanemesh_services.shared.errors import import_failed
from lanemesh_services.shared.hosted_errors import Server, broken, key_missing
from lanemesh_services.shared.hosted_settings import checked_url
from lanemesh_services.shared.models import resolve

COHERE = "https://api.cohere.com/v2"
JINA = "https://api.jina.ai/v1"
MAX_DOCUMENTS = 1_000
"""Most documents of a question that are judged; further ones, which were found with less score, are left out and counted."""


class RerankConfig(BaseModel):
    """Settings that all rerankers have."""

    limit: int = Field(5, ge=1, le=MAX_DOCUMENTS, description="Most documents that a question keeps.")
    min_score: float | None = Field(None, description="Least score of a document that is kept; null: any.")


class RerankNode(Node):
    """Base of all rerankers."""

    questions: Annotated[In[Question], "Questions with documents, such as those that a store has found."]
    best: Annotated[Out[Document], "The documents that are kept, the best one first, with their scores."]
    reranked: Annotated[Out[Question], "The questions with these documents."]

    async def scores(self, question: str, documents: Sequence[str]) -> list[float]:
        """How well each document answers a question; greater is better."""
        raise NotImplementedError

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Orders the documents of one question."""
        question: Question = self.questions
        judged = question.documents[:MAX_DOCUMENTS]
        if left := len(question.documents) - len(judged):
            context.log.warning("%d documents of a question are left out: at most %d are judged", left, MAX_DOCUMENTS)
        found = await self.scores(question.text, [document.content for document in judged]) if judged else []
        scored = [replace(document, score=score) for document, score in zip(judged, found, strict=True)]
        least = self.config.min_score
        kept = [document for document in scored if least is None or (document.score or 0.0) >= least]
        kept.sort(key=lambda document: -round(document.score or 0.0, 6))  # stable: equal ones stay in their order
        best = kept[: self.config.limit]
        for document in best:
            yield "best", document
        yield "reranked", replace(question, documents=tuple(best))


class Rerank(RerankNode):
    """Orders the documents of each question by a model that runs in the node server, and keeps the best ones.

    The model is a cross-encoder, if `model` is the folder of one. An embedding model, such as the default, compares the question
    with each document word by word (late interaction), together with their common words; a cross-encoder judges better.
    """

    pip_extra = "embeddings"
    python_packages = ("sentence_transformers", "torch")

    class Config(RerankConfig):
        """Settings of a reranker."""

        model: str = Field(
            "minilm",
            min_length=1,
            json_schema_extra={"format": "path-or-name"},
            description="The folder of a cross-encoder or an embedding model, or a model of `lanemesh models list`.",
        )
        device: str = Field(
            "",
            max_length=40,
            description='Device of torch, such as "cpu" or "cuda:0"; empty: the best one of the host.',
        )

    @classmethod
    async def load(cls, config: Any) -> Any:
        """Loads the model. Raises LanemeshError if the library or the model is missing."""

        def loaded() -> Any:
            folder = resolve(config.model, suggested="minilm")
            try:
                from lanemesh_services.search.rerank_model import opened

                return opened(folder, config.device)
            except ImportError as error:
                raise import_failed("sentence_transformers", cls.provider, cls.pip_extra, error) from error

        return await in_thread(loaded)

    async def scores(self, question: str, documents: Sequence[str]) -> list[float]:
        """See `RerankNode.scores`."""
        found: list[float] = await in_thread(self.resource.scores, question, documents)
        return found


class RerankApi(RerankNode):
    """Orders the documents of each question by a server that has the rerank API of Cohere and Jina, and keeps the best ones."""

    pip_extra = "web-search"
    python_packages = ("httpx2",)
    concurrency = 8
    profiles: ClassVar = {
        "cohere": {"base_url": COHERE, "model": "rerank-v3.5"},
        "jina": {"base_url": JINA, "model": "jina-reranker-v2-base-multilingual"},
    }

    class Config(RerankConfig, ServerConfig):
        """Settings of a reranker."""

        model: str = Field("rerank-v3.5", min_length=1, description="Name of the model at the server.")
        base_url: Annotated[str, Field(json_schema_extra={"format": "remote-url"})] = Field(
            COHERE, description="Address of the server, with the version in its path."
        )

        _url = field_validator("base_url")(checked_url)

    @classmethod
    async def load(cls, config: Any) -> tuple[JsonApi, Server]:
        """Makes the client. Raises LanemeshError if httpx2 or the key is missing."""
        server = Server("rerank", config.base_url, config.model, config.key)
        if not config.key and config.base_url in (COHERE, JINA):
            raise key_missing(cls.provider, server, "COHERE_API_KEY" if config.base_url == COHERE else "JINA_API_KEY")
        try:
            return config.api(server), server
        except ImportError as error:
            raise import_failed("httpx2", cls.provider, cls.pip_extra, error) from error

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Closes the connections."""
        await resource[0].close()

    async def scores(self, question: str, documents: Sequence[str]) -> list[float]:
        """See `RerankNode.scores`."""
        api, server = self.resource
        body = {"model": self.config.model, "query": question, "documents": documents, "top_n": len(documents)}
        return scores_of(await api.post("/rerank", body), len(documents), server)


def scores_of(answer: Any, count: int, server: Server) -> list[float]:
    """The scores in an answer, in the order of the documents. Raises ServerFailed if it has another form than the API defines."""
    results = answer.get("results") if isinstance(answer, dict) else None
    scores: dict[Any, float] = {}
    for result in results if isinstance(results, list) else []:
        score = result.get("relevance_score") if isinstance(result, dict) else None
        if isinstance(score, int | float):
            scores[result.get("index")] = float(score)
    if set(scores) != set(range(count)):
        raise broken(server, f"it has scores of {len(scores)} documents, and not of the {count} that were sent")
    return [scores[index] for index in range(count)]
