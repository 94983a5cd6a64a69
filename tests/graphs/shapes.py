"""A random pipeline as plain values, and the document that it makes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RUN_PROVIDERS = ("relay", "take", "gather", "merge", "phased")
"""Types that drive their own inputs."""
SOURCES = ("source", "source_sync", "once", "endless")
"""Types without inputs."""
CHAT = "chat"
"""The component that the client feeds."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge."""

    producer: str
    output: str
    consumer: str
    input: str
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One component that is no boundary."""

    id: str
    provider: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "on_any"
    fork: str = ""
    """What a join pairs by: "component.output"."""
    names_fork: bool = False
    """The document says so."""
    on_error: str | int = "fail"
    """"fail", "skip", or how many attempts a firing has."""
    concurrency: int = 1
    timeout: float | None = None
    isolated: bool = False
    """Its bodies run in a process of their own."""

    @property
    def inputs(self) -> dict[str, str]:
        """Its inputs: each with "" for a required one, "o" for an optional one, "l" for a list, "w" for one of wholes."""
        if self.provider in SOURCES:
            return {}
        if self.runs:
            return {"a": "", "b": ""} if self.provider in ("merge", "phased") else {"a": ""}
        signature = self.provider
        for prefix in ("process_", "gen_", "pieces_", "sync_"):
            signature = signature.removeprefix(prefix)
        return {name[0]: name[1:] for name in signature.split("_")}

    @property
    def runs(self) -> bool:
        """It implements `run`."""
        return self.provider in RUN_PROVIDERS

    @property
    def generates(self) -> bool:
        """It is a generator."""
        return self.provider.startswith(("gen", "pieces")) or self.provider in ("source", "source_sync", "endless")


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """One random pipeline, and what happens to it."""

    seed: int
    components: Sequence[Component]
    """Producers before their consumers."""
    edges: Sequence[Edge]
    responses: Sequence[str]
    """The components that deliver to the client."""
    fed: int | None = None
    """How many inputs the client feeds; None: there is no chat."""
    cancel_after: int | None = None
    """The run is cancelled after so many updates."""
    homes: Mapping[str, int] = field(default_factory=dict)
    """The node server of each component."""

    def into(self, component: str) -> dict[str, list[Edge]]:
        """The edges into a component, by input."""
        found: dict[str, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            if edge.consumer == component:
                found[edge.input].append(edge)
        return found

    def out_of(self, component: str) -> list[Edge]:
        """The edges out of a component."""
        return [edge for edge in self.edges if edge.producer == component]

    def ordered(self, component: Component) -> bool:
        """What it fires on, and in which order, follows from what comes in each of its edges."""
        ports = self.into(component.id)
        if any(len(edges) > 1 for edges in ports.values()) or component.provider == "merge" or component.mode == "join":
            return False
        single = [port for port in ports if component.inputs[port] != "l"]
        return component.runs or component.mode == "zip_all" or len(single) <= 1

    @property
    def told(self) -> dict[str, str]:
        """The components whose firings are told to the client, by the response that gets the traces."""
        return {edge.consumer: edge.producer for edge in self.edges if edge.output == "trace"}

    def document(self) -> dict[str, Any]:
        """The pipeline."""
        chat = [{"id": CHAT, "provider": "chat"}] if self.fed is not None else []
        components = [self._entry(component) for component in self.components]
        responses = [
            {"id": name, "provider": "response", "config": {"lane": "text"}, "input": self._inputs(name)}
            for name in self.responses
        ]
        return {"components": [*chat, *components, *responses]}

    def _entry(self, component: Component) -> dict[str, Any]:
        entry: dict[str, Any] = {"id": component.id, "provider": component.provider}
        if component.settings:
            entry["config"] = dict(component.settings)
        if component.mode != "on_any":
            entry["sync_mode"] = component.mode
        if component.names_fork:
            entry["join_on"] = component.fork
        if component.on_error != "fail":
            entry["on_error"] = (
                {"retry": {"attempts": component.on_error, "backoff": 0.0}}
                if isinstance(component.on_error, int)
                else component.on_error
            )
        if component.concurrency > 1:
            entry["concurrency"] = component.concurrency
        if component.timeout is not None:
            entry["timeout"] = component.timeout
        if component.isolated:
            entry["isolation"] = "process"
        inputs = self._inputs(component.id)
        return {**entry, "input": inputs} if inputs else entry

    def _inputs(self, consumer: str) -> list[dict[str, Any]]:
        entries = []
        for edge in self.edges:
            if edge.consumer == consumer:
                entry: dict[str, Any] = {"lane": "text", "from": edge.producer}
                if edge.producer != CHAT:
                    entry["output"] = edge.output
                if consumer not in self.responses:
                    entry["input"] = edge.input
                if edge.limit is not None:
                    entry["buffer_limit"] = edge.limit
                entries.append(entry)
        return entries
