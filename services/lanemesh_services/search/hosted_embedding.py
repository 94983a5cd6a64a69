"""Embeddings of a server that speaks the API of OpenAI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from lanemesh import Batch
from pydantic import BaseModel, Field, SecretStr, field_validator

from lanemesh_services.search.embedding import EmbeddingNode, Text, planned
from lanemesh_services.search.json_api import JsonApi
from lanemesh_services.shared.errors import import_failed
from lanemesh_services.shared.hosted_errors import Server, broken, key_missing
from lanemesh_services.shared.hosted_settings import checked_key, checked_url

OPENAI = "https://api.openai.com/v1"
"""Address of OpenAI's own server, which wants a key."""
MAX_NUMBER = 1e300
"""Greatest number of an embedding; JSON may have integers that no double has."""
MAX_TEXTS = 128
"""Most texts of one request; OpenAI's server takes 2,048."""


class ServerConfig(BaseModel):
    """Settings of a server behind HTTP."""

    api_key: SecretStr | None = Field(
        None, description='Key of the server, from a variable: "${OPENAI_API_KEY}". Null: none is sent.'
    )
    apikey: SecretStr | None = Field(None, description="The same as api_key; documents of RocketRide call it so.")
    timeout: float = Field(60.0, gt=0, le=3600, description="Seconds without an answer after which a request fails.")
    retries: int = Field(2, ge=0, le=10, description="Maximum number of retries of a request.")
    retry_seconds: float = Field(30.0, ge=0, le=3600, description="Maximum seconds of all pauses before retries.")

    _key = field_validator("api_key", "apikey")(checked_key)

    @property
    def key(self) -> str:
        """The key; empty if there is none."""
        given = self.api_key or self.apikey
        return given.get_secret_value() if given is not None else ""

    def api(self, server: Server, header: str = "Authorization") -> JsonApi:
        """The client of a server. Raises ImportError if httpx2 is not installed."""
        limits = self.model_dump(include={"timeout", "retries", "retry_seconds"})
        return JsonApi(server, header=header, **limits)


class EmbeddingOpenai(EmbeddingNode):
    """Embeds documents and questions with a model of OpenAI, or of any server that speaks its API: vLLM, Ollama and others.

    Questions and documents that wait are sent together, whichever runs they are of. A text that is longer than the model reads
    fails, unless the server cuts it.
    """

    pip_extra = "web-search"
    python_packages = ("httpx2",)
    batch = Batch(max=MAX_TEXTS, within=0.005, concurrency=4)
    profiles: ClassVar = {
        "text-embedding-3-small": {"model": "text-embedding-3-small"},
        "text-embedding-3-large": {"model": "text-embedding-3-large"},
    }

    class Config(ServerConfig):
        """Settings of a component."""

        model: str = Field("text-embedding-3-small", min_length=1, description="Name of the model at the server.")
        base_url: Annotated[str, Field(json_schema_extra={"format": "remote-url"})] = Field(
            OPENAI, description="Address of the server, with the version in its path."
        )
        dimensions: int | None = Field(
            None,
            ge=1,
            le=65_536,
            description="Numbers of an embedding, where the model supports several; null: its own.",
        )
        query_prefix: str = Field("", max_length=2_000, description="Text before each question.")
        passage_prefix: str = Field("", max_length=2_000, description="Text before each document.")

        _url = field_validator("base_url")(checked_url)

    @classmethod
    async def load(cls, config: Any) -> HostedEmbedder:
        """Makes the client. Raises LanemeshError if httpx2 or the key is missing."""
        server = Server("OpenAI", config.base_url, config.model, config.key)
        if not config.key and config.base_url == OPENAI:
            raise key_missing(cls.provider, server, "OPENAI_API_KEY")
        try:
            return HostedEmbedder(config.api(server), server, config)
        except ImportError as error:
            raise import_failed("httpx2", cls.provider, cls.pip_extra, error) from error

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Closes the connections."""
        await resource.close()

    async def process(self, items: list[Any]) -> list[Any]:
        """Embeds the items of several firings."""
        texts, results = planned(items)
        found = await self.resource.embed([text for _, named in texts for _, text in named]) if texts else []
        vectors = iter(found)
        for position, named in texts:
            item = items[position]
            values = {"embedded_documents": item.documents, "embedded_questions": item.questions}
            results[position] = {output: replace(values[output], embedding=tuple(next(vectors))) for output, _ in named}
        return results


class HostedEmbedder:
    """A model at a server."""

    def __init__(self, api: JsonApi, server: Server, config: Any) -> None:
        self._api = api
        self._server = server
        self._prefixes = {True: config.query_prefix, False: config.passage_prefix}
        self._body: dict[str, Any] = {"model": config.model, "encoding_format": "float"}
        if config.dimensions is not None:
            self._body["dimensions"] = config.dimensions

    async def close(self) -> None:
        """Closes the connections."""
        await self._api.close()

    async def embed(self, texts: Sequence[Text]) -> list[list[float]]:
        """The embeddings of texts, in their order. Raises LanemeshError if the server fails."""
        vectors: list[list[float]] = []
        for start in range(0, len(texts), MAX_TEXTS):
            part = [self._prefixes[text.is_query] + text.text for text in texts[start : start + MAX_TEXTS]]
            answer = await self._api.post("/embeddings", {**self._body, "input": part})
            vectors += self._vectors(answer, len(part))
        return vectors

    def _vectors(self, answer: Any, count: int) -> list[list[float]]:
        """The vectors of an answer. Raises ServerFailed if it has another form than the API defines."""
        entries = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(entries, list) or len(entries) != count:
            found = len(entries) if isinstance(entries, list) else "no"
            raise broken(self._server, f"it has {found} embeddings for {count} texts")
        vectors: dict[int, list[float]] = {}
        for position, entry in enumerate(entries):
            numbers = entry.get("embedding") if isinstance(entry, dict) else None
            if not isinstance(numbers, list) or not numbers or not all(map(_is_number, numbers)):
                raise broken(self._server, f"embedding {position} is not a list of numbers")
            index = entry.get("index", position)
            vectors[index if isinstance(index, int) and not isinstance(index, bool) else -1] = numbers
        if sorted(vectors) != list(range(count)) or len({len(vector) for vector in vectors.values()}) != 1:
            raise broken(self._server, "its embeddings have other indices than the texts, or different lengths")
        return [vectors[index] for index in range(count)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER
