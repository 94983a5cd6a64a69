"""Deployed pipelines as models: those that take a question or a text, and deliver answers or text, or embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from lanemesh.node.names import by_names

from lanemesh_orchestrator.gateway.model_api.refusals import unsupported
from lanemesh_orchestrator.pipeline.source import (
    components_of,
    document_tree,
    part_of_tree,
    providers_of,
    source_of,
)

if TYPE_CHECKING:
    from lanemesh.client.node_types import NodeTypeInfo

SAMPLING_KEYS = ("temperature", "top_p", "top_k", "max_tokens", "stop", "seed")
"""The settings of language models that requests can override."""
CHAT_KINDS = ("chat",)
"""The node types of the source of a conversation, of which a pipeline with several sources has one."""
EMBEDDING_LANES = ("documents", "questions", "data")
"""The lanes that carry embeddings, in the order in which they are chosen."""


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
    source: str
    """The component that is fed; the parts of other sources are left out."""
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


@dataclass(frozen=True, slots=True)
class Embedder:
    """A deployed pipeline that may make embeddings: only its outputs show whether it does."""

    name: str
    """Its name: that of the deployment."""
    target: str
    """The component that delivers the embeddings."""
    lane: str
    """The lane of the target."""
    source: str
    """The component that is fed; the parts of other sources are left out."""


def embedder_of(name: str, document: str, types: Sequence[NodeTypeInfo]) -> Embedder | None:
    """A deployed pipeline that makes embeddings; None if it takes neither questions nor text, or delivers no lane that carries
    embeddings. The arguments are those of `model_of`."""
    tree = document_tree(document)
    source = source_of(tree, types, kinds=CHAT_KINDS)
    if source is None or not source.lanes & {"questions", "text"}:
        return None
    delivered = _Graph(part_of_tree(tree, source.component), types).delivered()
    lane = next((lane for lane in EMBEDDING_LANES if lane in delivered), None)
    return Embedder(name, delivered[lane], lane, source.component) if lane is not None else None


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
    source = source_of(tree, types, kinds=CHAT_KINDS)
    if source is None:
        return None
    graph = _Graph(part_of_tree(tree, source.component), types)
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
        source=source.component,
        takes_tools=takes == "questions" and bool(asked) and all("llm" in node_type.offers for node_type in asked),
    )


class _Graph:
    """The components of a document with their node types."""

    def __init__(self, tree: dict[str, Any], types: Sequence[NodeTypeInfo]) -> None:
        components = components_of(tree)
        named = by_names(providers_of(tree), {one.provider: one for one in types})
        self._types = {str(one.get("id")): named.get(str(one.get("provider"))) for one in components}
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
