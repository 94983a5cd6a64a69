"""The `search` service: embeddings, and stores of documents that answer questions."""

from __future__ import annotations

from lanemesh import Service

from lanemesh_services.search.embedding_nodes import EmbeddingLight, EmbeddingTransformer
from lanemesh_services.search.hosted_embedding import EmbeddingOpenai
from lanemesh_services.search.rerank import Rerank, RerankApi
from lanemesh_services.search.stores import Lancedb, Pgvector, Qdrant, SqliteSearch
from lanemesh_services.search.web_read import WebRead
from lanemesh_services.search.web_search import WebSearch

EMBEDDINGS = (EmbeddingTransformer, EmbeddingLight, EmbeddingOpenai)
STORES = (Qdrant, Lancedb, Pgvector, SqliteSearch)
WEB = (WebSearch, WebRead)

SERVICE = Service("search", [*EMBEDDINGS, *STORES, Rerank, RerankApi, *WEB])
