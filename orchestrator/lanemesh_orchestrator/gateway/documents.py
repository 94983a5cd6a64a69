"""Pipeline documents as responses have them: without the secrets that are written out in them."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from lanemesh.client.node_types import encode_node_type

from lanemesh_orchestrator.pipeline.redaction import without_secrets

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost


async def public_document(mesh: RunHost, text: str) -> Any:
    """The document of a JSON text, with "***" in place of the values of secret settings. A component whose node type is not
    available, so that its secret settings are unknown, has no config.

    Raises:
        LanemeshError: the mesh cannot be reached, or the text is not a pipeline.
    """
    providers = _providers(json.loads(text))
    types = {info.provider: info for info in await mesh.node_types(providers)} if providers else {}
    document = json.loads(without_secrets(text, {name: encode_node_type(info) for name, info in types.items()}))
    known = {name for info in types.values() for name in (info.provider, *info.aliases)}
    for entry in document.get("components", []):
        if isinstance(entry, dict) and entry.get("provider") not in known:
            entry.pop("config", None)
    return document


def _providers(document: Any) -> Collection[str]:
    listed = document.get("components") if isinstance(document, dict) else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return {str(entry.get("provider")) for entry in entries}
