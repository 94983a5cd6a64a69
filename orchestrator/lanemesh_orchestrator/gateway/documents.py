"""Pipeline documents as responses have them: without the secrets that are written out in them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from lanemesh.client.node_types import NodeTypeInfo, encode_node_type

from lanemesh_orchestrator.pipeline.redaction import without_secrets

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost

INLINE_CHARACTERS = 16 * 1024
"""Longest document that is read in the event loop."""


async def public_document(mesh: RunHost, text: str) -> Any:
    """The document of a JSON text, with "***" in place of the values of secret settings. A component whose node type is not
    available, so that its secret settings are unknown, has no config. A large document is read in a thread.

    Raises:
        LanemeshError: the mesh cannot be reached, or the text is not a pipeline.
    """
    if len(text) > INLINE_CHARACTERS:
        types = await _types(mesh, await asyncio.to_thread(_providers, text))
        return await asyncio.to_thread(_public, text, types)
    return _public(text, await _types(mesh, _providers(text)))


async def _types(mesh: RunHost, providers: Collection[str]) -> Collection[NodeTypeInfo]:
    return await mesh.node_types(providers) if providers else ()


def _public(text: str, types: Collection[NodeTypeInfo]) -> Any:
    document = json.loads(without_secrets(text, {info.provider: encode_node_type(info) for info in types}))
    known = {name for info in types for name in (info.provider, *info.aliases)}
    for entry in document.get("components", []):
        if isinstance(entry, dict) and entry.get("provider") not in known:
            entry.pop("config", None)
    return document


def _providers(text: str) -> Collection[str]:
    document = json.loads(text)
    listed = document.get("components") if isinstance(document, dict) else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return {str(entry.get("provider")) for entry in entries}
