"""The documents of deployed pipelines, read as models."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lanemesh.faults import Code, LanemeshError

from lanemesh_orchestrator.gateway.model_api.deployed import DeployedModel, Embedder, embedder_of, model_of
from lanemesh_orchestrator.pipeline.source import document_tree, knows_node_types, providers_of

if TYPE_CHECKING:
    from lanemesh.client.deployment_info import DeploymentInfo
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_host import RunHost

MAX_AT_ONCE = 16
"""Most documents that are read at the same time."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a version of a deployed pipeline is."""

    name: str
    version: int
    model: DeployedModel | None
    embedder: Embedder | None
    is_final: bool
    """All its node types were known. Otherwise it may become another model when their node server joins."""


class DeployedDocuments:
    """What the deployed pipelines of a mesh are. The document of each version is read once, or with each list until its node types
    are known. The mesh is asked for each list, with the token of the caller, so that only those get one who may."""

    def __init__(self, mesh: RunHost) -> None:
        self._mesh = mesh
        self._known: dict[str, Known] = {}

    async def deployed(self) -> dict[str, Known]:
        """The deployed pipelines by name. Raises LanemeshError if the caller may not list them, or the mesh cannot be reached."""
        deployed = await self._mesh.deployments()
        limit = asyncio.Semaphore(MAX_AT_ONCE)
        read = await asyncio.gather(*(self._entry(one, limit) for one in deployed))
        self._known = {one.name: one for one in read if one is not None}
        return self._known

    async def of_run(self, record: RunRecord) -> Known:
        """What a deployed pipeline was when a run of it began. Raises LanemeshError if the mesh cannot be reached."""
        known = self._known.get(record.deployment)
        if known is not None and known.version == record.deployment_version and known.is_final:
            return known
        return await self._read(record.deployment, record.deployment_version, record.created_at, record.pipeline_json)

    async def _entry(self, one: DeploymentInfo, limit: asyncio.Semaphore) -> Known | None:
        """The entry of a deployment; None if it has just been removed."""
        known = self._known.get(one.name)
        if known is not None and known.version == one.version and known.is_final:
            return known
        async with limit:
            try:
                info = await self._mesh.deployment(one.name)
            except LanemeshError as error:
                if error.fault.code is Code.NOT_FOUND:
                    return None
                raise
            return await self._read(one.name, info.version, info.created_at, info.pipeline_json)

    async def _read(self, name: str, version: int, created_at: datetime, document: str) -> Known:
        tree = document_tree(document)
        types = await self._mesh.node_types(providers_of(tree))
        model = model_of(name, version, created_at, document, types)
        return Known(name, version, model, embedder_of(name, document, types), knows_node_types(tree, types))
