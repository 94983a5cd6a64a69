"""Deployed pipelines as models: those that take a question or a text, and deliver answers or text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.names import by_names

from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.pipeline.faults import nearest
from lanemesh_orchestrator.pipeline.source import components_of, document_tree, providers_of, source_of

if TYPE_CHECKING:
    from lanemesh.client.deployment_info import DeploymentInfo
    from lanemesh.client.node_types import NodeTypeInfo
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_host import RunHost
    from starlette.requests import HTTPConnection

SAMPLING_KEYS = ("temperature", "top_p", "top_k", "max_tokens", "stop", "seed")
"""The settings of language models that requests can override."""
FRESH_SECONDS = 1.0
"""How long a list of models is used without asking the mesh again."""
MAX_AT_ONCE = 16
"""Most documents that are read at the same time."""


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """A deployed pipeline as a model."""

    name: str
    """Its name: that of the deployment."""
    version: int
    """The version of the deployment."""
    created_at: datetime
    """When this version was deployed."""
    takes: Literal["questions", "text"]
    """What its source takes: whole questions, or only the text of one."""
    target: str
    """The component that delivers what the model writes."""
    lane: Literal["answers", "text"]
    """The lane of the target."""
    sampled: Mapping[str, frozenset[str]]
    """The language models in it by component, with the sampling settings of each."""
    takes_tools: bool
    """Its questions go to a language model, which takes tools, and not to an agent."""

    def can_set(self, key: str) -> bool:
        """Whether requests can override a sampling setting."""
        return len(self.sampled) == 1 and all(key in keys for keys in self.sampled.values())

    def settings(self, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a run with this sampling.

        Args:
            sampling: values by their names among `SAMPLING_KEYS`; None: not given.

        Raises:
            LanemeshError: "unsupported-parameter": the pipeline does not have exactly one model with these settings.
        """
        given = {key: value for key, value in sampling.items() if value is not None}
        if not given:
            return {}
        able = [component for component, keys in self.sampled.items() if given.keys() <= keys]
        if len(able) != 1 or len(self.sampled) != 1:
            has = f"{len(self.sampled)} language models" if self.sampled else "no language model"
            if len(self.sampled) == 1:
                has = f"a language model without {', '.join(sorted(set(given) - set(*self.sampled.values())))}"
            message = f'the pipeline "{self.name}" has {has}, so that {", ".join(given)} cannot be set. Remove it'
            raise unsupported(next(iter(given)), message)
        return {f"{able[0]}.{key}": value for key, value in given.items()}


def model_of(
    name: str, version: int, created_at: datetime, document: str, types: Sequence[NodeTypeInfo]
) -> DeployedModel | None:
    """A deployed pipeline as a model; None if it takes neither questions nor text, or delivers neither answers nor text.

    Args:
        name: of the deployment.
        version: of the deployment.
        created_at: when it was deployed.
        document: the pipeline, as JSON.
        types: the node types of its components, as far as they are known.
    """
    tree = document_tree(document)
    source = source_of(tree, types)
    if source is None:
        return None
    by_name = by_names(providers_of(tree), {one.provider: one for one in types})
    graph = _Graph(components_of(tree), by_name)
    taken = {lane for _, lane in graph.consumers(source.component)}
    takes: Literal["questions", "text", ""] = "questions" if "questions" in taken else "text" if "text" in taken else ""
    delivered = graph.delivered()
    lane: Literal["answers", "text", ""] = (
        "answers" if "answers" in delivered else "text" if "text" in delivered else ""
    )
    if not takes or not lane:
        return None
    asked = graph.asked(source.component)
    return DeployedModel(
        name=name,
        version=version,
        created_at=created_at,
        takes=takes,
        target=delivered[lane],
        lane=lane,
        sampled=dict(graph.sampled()),
        takes_tools=takes == "questions" and bool(asked) and all("llm" in node_type.offers for node_type in asked),
    )


class _Graph:
    """The components of a document with their node types."""

    def __init__(self, components: Sequence[dict[str, Any]], types: Mapping[str, NodeTypeInfo]) -> None:
        self._types = {str(one.get("id")): types.get(str(one.get("provider"))) for one in components}
        self._edges = [
            (str(entry.get("from")), str(entry.get("lane")), str(one.get("id")))
            for one in components
            for entry in (one["input"] if isinstance(one.get("input"), list) else ())
            if isinstance(entry, dict)
        ]

    def consumers(self, component: str) -> Iterator[tuple[str, str]]:
        """The components that take from one, with the lanes."""
        return ((consumer, lane) for producer, lane, consumer in self._edges if producer == component)

    def delivered(self) -> dict[str, str]:
        """The first target of each lane that is delivered."""
        found: dict[str, str] = {}
        for _, lane, consumer in self._edges:
            node_type = self._types.get(consumer)
            if node_type is not None and node_type.boundary == "target":
                found.setdefault(lane, consumer)
        return found

    def asked(self, source: str) -> list[NodeTypeInfo]:
        """The node types that answer the questions of a source, which other nodes may pass on, such as a prompt."""
        found, seen, waiting = [], {source}, [source]
        while waiting:
            for consumer, lane in self.consumers(waiting.pop()):
                node_type = self._types.get(consumer)
                if lane != "questions" or consumer in seen or node_type is None:
                    continue
                seen.add(consumer)
                if any(next_lane == "questions" for _, next_lane in self.consumers(consumer)):
                    waiting.append(consumer)
                elif node_type.boundary is None:
                    found.append(node_type)
        return found

    def sampled(self) -> Iterator[tuple[str, frozenset[str]]]:
        """The language models, with the sampling settings that each has."""
        for component, node_type in self._types.items():
            if node_type is not None and "llm" in node_type.offers:
                known = node_type.config_schema.get("properties") or {}
                if keys := frozenset(SAMPLING_KEYS) & frozenset(known):
                    yield component, keys


class ModelCatalog:
    """The models of a mesh. The document of each version is read once; the list is at most a second old."""

    def __init__(self, mesh: RunHost) -> None:
        self._mesh = mesh
        self._known: dict[str, tuple[int, DeployedModel | None]] = {}
        self._read_at = -FRESH_SECONDS
        self._reading = asyncio.Lock()

    async def models(self) -> list[DeployedModel]:
        """All models, by name. Raises LanemeshError if the mesh cannot be reached."""
        async with self._reading:
            if time.monotonic() - self._read_at >= FRESH_SECONDS:
                await self._read()
        return [model for _, (_, model) in sorted(self._known.items()) if model is not None]

    async def find(self, name: str) -> DeployedModel:
        """A model by its name, or by "@" and its name.

        Raises:
            LanemeshError: there is none ("unknown-model"), or the mesh cannot be reached.
        """
        wanted = name.removeprefix("@")
        await self.models()
        if wanted not in self._known:  # it may have been deployed a moment ago
            async with self._reading:
                await self._read()
        _, found = self._known.get(wanted, (0, None))
        if found is None:
            raise self._unknown(name, list(self._known))
        return found

    async def of_run(self, record: RunRecord) -> DeployedModel:
        """The model that a deployed pipeline was when a run of it began. Raises LanemeshError if it is none ("unknown-model")."""
        name, version = record.deployment, record.deployment_version
        known, model = self._known.get(name, (0, None))
        if known != version or model is None:
            model = await self._model(name, version, record.created_at, record.pipeline_json)
        if model is None:
            raise self._unknown(name, [])
        return model

    def _unknown(self, name: str, models: Sequence[str]) -> LanemeshError:
        near = nearest(name, models)
        hint = f'Did you mean "{near}"? ' if near else ""
        if name.removeprefix("@") in self._known:
            hint = "Its pipeline is no model: it has to take questions or text, and deliver answers or text. "
        message = f'there is no model "{name[:80]}". {hint}GET /v1/models lists the deployed pipelines that are models'
        return LanemeshError(
            Fault(code=Code.NOT_FOUND, reason="unknown-model", message=message, details={"param": "model"})
        )

    async def _read(self) -> None:
        asked_at = time.monotonic()
        deployed = await self._mesh.deployments()
        limit = asyncio.Semaphore(MAX_AT_ONCE)
        read = await asyncio.gather(*(self._entry(one, limit) for one in deployed))
        self._known = {one.name: entry for one, entry in zip(deployed, read, strict=True) if entry is not None}
        self._read_at = asked_at

    async def _entry(self, one: DeploymentInfo, limit: asyncio.Semaphore) -> tuple[int, DeployedModel | None] | None:
        """The entry of a deployment; None if it has just been removed."""
        known = self._known.get(one.name)
        if known is not None and known[0] == one.version:
            return known
        async with limit:
            try:
                info = await self._mesh.deployment(one.name)
            except LanemeshError as error:
                if error.fault.code is Code.NOT_FOUND:
                    return None
                raise
            return info.version, await self._model(one.name, info.version, info.created_at, info.pipeline_json)

    async def _model(self, name: str, version: int, created_at: datetime, document: str) -> DeployedModel | None:
        types = await self._mesh.node_types(providers_of(document_tree(document)))
        return model_of(name, version, created_at, document, types)


def models_of(connection: HTTPConnection) -> ModelCatalog:
    """The models of the mesh of a gateway."""
    state = connection.app.state
    if not hasattr(state, "models"):
        state.models = ModelCatalog(gateway_of(connection).mesh)
    return cast("ModelCatalog", state.models)


def unsupported(param: str, message: str) -> LanemeshError:
    """The error of a parameter that a model, or the API, does not support."""
    fault = Fault(code=Code.INVALID_ARGUMENT, reason="unsupported-parameter", message=message, details={"param": param})
    return LanemeshError(fault)
