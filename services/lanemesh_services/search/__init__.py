"""The `search` service: embeddings, and stores of documents that answer questions."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.search.embedding_nodes import EmbeddingLight, EmbeddingTransformer
from lanemesh_services.search.hosted_embedding import EmbeddingOpenai
from lanemesh_services.search.stores import Lancedb, Pgvector, Qdrant, SqliteSearch

SERVICE = Service(
    "search", [EmbeddingTransformer, EmbeddingLight, EmbeddingOpenai, Qdrant, Lancedb, Pgvector, SqliteSearch]
)
