"""The `search` service: embeddings, and stores of documents that answer questions."""

from __future__ import annotations

from lanemesh import Service

SERVICE = Service("search", [])
