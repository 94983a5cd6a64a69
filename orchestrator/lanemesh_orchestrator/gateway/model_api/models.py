"""The models of a mesh: its deployed pipelines."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from lanemesh.faults import Code, Fault, LanemeshError

from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.gateway.model_api.deployed import DeployedModel, Embedder, embedder_of, model_of
from lanemesh_orchestrator.gateway.model_api.refusals import unsupported
from lanemesh_orchestrator.pipeline.faults import nearest
from lanemesh_orchestrator.pipeline.source import document_tree, knows_node_types, providers_of

if TYPE_CHECKING:
    from lanemesh.client.deployment_info import DeploymentInfo
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_host import RunHost
    from starlette.requests import HTTPConnection

FRESH_SECONDS = 1.0
"""How long a list of models is used without asking the mesh again."""
MAX_AT_ONCE = 16
"""Most documents that are read at the same time."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a version of a deployed pipeline is."""

    name: str
    version: int
    model: DeployedModel | None
    embedder: Embedder | None
    is_final: bool
    """All its node types were known. Otherwise it may become another model when their node server joins."""


class ModelCatalog:
    """The models of a mesh. The document of each version is read once, or with each list until its node types are known. The list
    is at most a second old; for an unknown name it is read again, once a second at most."""

    def __init__(self, mesh: RunHost) -> None:
        self._mesh = mesh
        self._known: dict[str, _Known] = {}
        self._read_at = -FRESH_SECONDS
        self._reading = asyncio.Lock()
        self._reread_at = -FRESH_SECONDS
        """When the list was last read again because of an unknown name."""
        self._rereading = asyncio.Lock()

    async def models(self) -> list[DeployedModel]:
        """All models, by name. Raises LanemeshError if the mesh cannot be reached."""
        async with self._reading:
            if time.monotonic() - self._read_at >= FRESH_SECONDS:
                await self._read()
        return [known.model for _, known in sorted(self._known.items()) if known.model is not None]

    async def find(self, name: str) -> DeployedModel:
        """A model by its name, or by "@" and its name.

        Raises:
            LanemeshError: there is none ("unknown-model"), or the mesh cannot be reached.
        """
        known = await self._find(name)
        if known is None or known.model is None:
            raise self._unknown(name, "it has to take questions or text, and deliver answers or text")
        return known.model

    async def find_embedder(self, name: str) -> Embedder:
        """A pipeline that may make embeddings, by its name. Raises as `find`."""
        known = await self._find(name)
        if known is None:
            raise self._unknown(name, "")
        if known.embedder is None:
            message = (
                f'the pipeline "{known.name}" makes no embeddings: it takes no text, or delivers no documents or data'
            )
            raise unsupported("model", message)
        return known.embedder

    async def of_run(self, record: RunRecord) -> DeployedModel:
        """The model that a deployed pipeline was when a run of it began. Raises LanemeshError if it is none ("unknown-model")."""
        known = self._known.get(record.deployment)
        if known is None or known.version != record.deployment_version or not known.is_final:
            name, version = record.deployment, record.deployment_version
            known = await self._read_one(name, version, record.created_at, record.pipeline_json)
        if known.model is None:
            raise self._unknown(record.deployment, "it has to take questions or text, and deliver answers or text")
        return known.model

    async def _find(self, name: str) -> _Known | None:
        wanted, asked_at = name.removeprefix("@"), time.monotonic()
        await self.models()
        if wanted not in self._known and self._read_at < asked_at:  # it may have been deployed a moment ago
            async with self._rereading:
                await self._reread(asked_at)
        return self._known.get(wanted)

    async def _reread(self, asked_at: float) -> None:
        """Reads the list again unless it is newer than a request. Waits so that unknown names cause one reading a second."""
        if self._read_at >= asked_at:
            return
        await asyncio.sleep(self._reread_at + FRESH_SECONDS - time.monotonic())
        async with self._reading:
            if self._read_at < asked_at:
                self._reread_at = time.monotonic()
                await self._read()

    def _unknown(self, name: str, needs: str) -> LanemeshError:
        near = nearest(name, list(self._known))
        hint = f'Did you mean "{near}"? ' if near else ""
        if name.removeprefix("@") in self._known:
            hint = f"Its pipeline is no model: {needs}. "
        message = f'there is no model "{name[:80]}". {hint}GET /v1/models lists the deployed pipelines that are models'
        fault = Fault(code=Code.NOT_FOUND, reason="unknown-model", message=message, details={"param": "model"})
        return LanemeshError(fault)

    async def _read(self) -> None:
        asked_at = time.monotonic()
        deployed = await self._mesh.deployments()
        limit = asyncio.Semaphore(MAX_AT_ONCE)
        read = await asyncio.gather(*(self._entry(one, limit) for one in deployed))
        self._known = {one.name: one for one in read if one is not None}
        self._read_at = asked_at

    async def _entry(self, one: DeploymentInfo, limit: asyncio.Semaphore) -> _Known | None:
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
            return await self._read_one(one.name, info.version, info.created_at, info.pipeline_json)

    async def _read_one(self, name: str, version: int, created_at: datetime, document: str) -> _Known:
        tree = document_tree(document)
        types = await self._mesh.node_types(providers_of(tree))
        model = model_of(name, version, created_at, document, types)
        return _Known(name, version, model, embedder_of(name, document, types), knows_node_types(tree, types))


def models_of(connection: HTTPConnection) -> ModelCatalog:
    """The models of the mesh of a gateway."""
    state = connection.app.state
    if not hasattr(state, "models"):
        state.models = ModelCatalog(gateway_of(connection).mesh)
    return cast("ModelCatalog", state.models)
