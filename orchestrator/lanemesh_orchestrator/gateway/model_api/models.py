"""The models of a mesh: its deployed pipelines."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, cast

from lanemesh.faults import Code, Fault, LanemeshError

from lanemesh_orchestrator.gateway.gateway import SENT_TOKEN, gateway_of
from lanemesh_orchestrator.gateway.model_api.documents import DeployedDocuments, Known
from lanemesh_orchestrator.gateway.model_api.refusals import unsupported
from lanemesh_orchestrator.pipeline.faults import nearest

if TYPE_CHECKING:
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_host import RunHost
    from starlette.requests import HTTPConnection

    from lanemesh_orchestrator.gateway.model_api.deployed import DeployedModel, Embedder

FRESH_SECONDS = 1.0
"""How long a list of models is used without asking the mesh again."""
MAX_CALLERS = 1_000
"""Most callers whose lists are kept. Of further ones the list that was not used for the longest time is dropped."""


class ModelCatalog:
    """The models of a mesh, as the mesh lists them to one caller. The list is at most a second old; for an unknown name it is read
    again, once a second at most."""

    def __init__(self, documents: DeployedDocuments) -> None:
        """`documents`: those of all callers."""
        self._documents = documents
        self._known: dict[str, Known] = {}
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
        known = await self._documents.of_run(record)
        if known.model is None:
            raise self._unknown(record.deployment, "it has to take questions or text, and deliver answers or text")
        return known.model

    async def _find(self, name: str) -> Known | None:
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
        self._known = await self._documents.deployed()
        self._read_at = asked_at


class ModelCatalogs:
    """The models of a mesh for each caller: no caller gets the list of another, which may have other scopes, or none."""

    def __init__(self, mesh: RunHost) -> None:
        self._documents = DeployedDocuments(mesh)
        self._catalogs: OrderedDict[str, ModelCatalog] = OrderedDict()

    def of(self, token: str) -> ModelCatalog:
        """Those of the caller with a token. `token`: empty: the mesh gets that of the gateway, or none."""
        catalog = self._catalogs.get(token)
        if catalog is None:
            catalog = self._catalogs[token] = ModelCatalog(self._documents)
            if len(self._catalogs) > MAX_CALLERS:
                self._catalogs.popitem(last=False)
        self._catalogs.move_to_end(token)
        return catalog


def models_of(connection: HTTPConnection) -> ModelCatalog:
    """The models of the mesh of a gateway for a caller."""
    state = connection.app.state
    if not hasattr(state, "models"):
        state.models = ModelCatalogs(gateway_of(connection).mesh)
    return cast("ModelCatalogs", state.models).of(connection.scope.get(SENT_TOKEN, ""))
