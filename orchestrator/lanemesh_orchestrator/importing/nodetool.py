"""Workflows of NodeTool as pipeline documents: nodes become components, and edges by their handles become lanes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lanemesh_orchestrator.importing.counterparts import (
    AGENT,
    ANSWER,
    ANY_HANDLE,
    ANY_LANE,
    CONSTANTS,
    COUNTERPARTS,
    IGNORED,
    MODELS,
    OUTPUTS,
    PREVIEW,
    QUESTIONS,
    SOURCES,
    Counterpart,
    Ports,
)
from lanemesh_orchestrator.importing.workflow import label_of, parts_of, properties_of, shown, title_of

TEXT_LANES = ("text", "questions")
"""The lanes of inputs whose values may be typed into a node."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Something of a workflow that the pipeline does not have."""

    node: str
    """The id of the node."""
    what: str
    """What is missing, and what to do, in words."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A pipeline, and what it lacks."""

    document: dict[str, Any]
    """The pipeline document."""
    missing: Sequence[Missing]
    """What has no counterpart, in the order of the workflow."""
    notes: Sequence[str]
    """What differs, and what is to be set."""


@dataclass(slots=True)
class _Part:
    """A node with its component."""

    node: Mapping[str, Any]
    counterpart: Counterpart
    component: dict[str, Any]
    entry: dict[str, Any]
    """The component that takes the inputs: the same one, or one that is put before it."""
    connected: set[str] = field(default_factory=set)
    """The handles that edges lead to."""
    given: dict[str, Any] = field(default_factory=dict)
    """The values of constants for its settings."""
    connections: set[tuple[tuple[str, str], ...]] = field(default_factory=set)
    """The inputs of the entry."""


@dataclass(slots=True)
class _Import:
    """An import under way."""

    providers: frozenset[str] | None
    components: list[dict[str, Any]] = field(default_factory=list)
    parts: dict[str, _Part] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    results: set[str] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)

    def lacks(self, node: object, what: str) -> None:
        """Records something that the pipeline does not have."""
        self.missing.append(Missing(shown(str(node)), what))

    def add(self, provider: str, config: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
        """Adds a component."""
        self.numbers[provider] = number = self.numbers.get(provider, 0) + 1
        component: dict[str, Any] = {"id": f"{provider}_{number}", "provider": provider}
        if config:
            component["config"] = dict(config)
        if title := title_of(node):
            component["name"] = title
        self.components.append(component)
        return component


def from_nodetool(tree: Any, providers: frozenset[str] | None = None) -> Imported:
    """The pipeline of a workflow.

    Args:
        tree: the JSON value of a workflow, or of its graph.
        providers: the names of the node types that there are; None: all that have a rule.

    Raises:
        NotAWorkflow: it is not of NodeTool's form, or too large.
    """
    nodes, edges = parts_of(tree)
    found = _Import(providers)
    by_id = {str(node["id"]): node for node in nodes}
    for node in nodes:
        _add_node(found, node)
    for edge in edges:
        _add_edge(found, edge, by_id)
    for part in [*found.parts.values()]:
        _add_values(found, part)
    document: dict[str, Any] = {"version": 1, "components": found.components}
    if isinstance(tree, Mapping) and isinstance(name := tree.get("name"), str) and name:
        document = {"version": 1, "name": name[:200], "components": found.components}
    sources = [one["id"] for one in found.components if one["provider"] in ("chat", "file", "webhook")]
    if len(sources) > 1:
        found.notes.append(f"A run feeds one of its inputs, which --source names: {', '.join(sources)}.")
    return Imported(document, found.missing, found.notes)


def _add_node(found: _Import, node: Mapping[str, Any]) -> None:
    kind, data = str(node["type"]), properties_of(node)
    if kind in IGNORED or kind.startswith(CONSTANTS):
        return
    if kind == AGENT:
        _add_agent(found, node)
        return
    if kind == PREVIEW or kind.startswith(OUTPUTS):
        config = _result(found, data)
        _keep(found, node, Counterpart("response", {ANY_HANDLE: ANY_LANE}), found.add("response", config, node))
        return
    counterpart = COUNTERPARTS.get(kind)
    if counterpart is None or (found.providers is not None and counterpart.provider not in found.providers):
        why = "" if counterpart is None else f": the node type {counterpart.provider} is not there"
        found.lacks(node["id"], f"{shown(kind)} has no counterpart{why}")
        return
    config = counterpart.settings(data)
    component = found.add(counterpart.provider, config, node)
    _keep(found, node, counterpart, component)
    if counterpart.model:
        _add_model(found, node, component)
    _note_differences(found, counterpart, component, node, data)
    if needs := [name for name in counterpart.needs if name not in config]:
        found.notes.append(f"Set {', '.join(needs)} of {component['id']}: {shown(kind)} has no value for it that fits.")


def _note_differences(
    found: _Import, by: Counterpart, component: Mapping[str, Any], node: Mapping[str, Any], data: Mapping[str, Any]
) -> None:
    notes = [f"{component['id']} {what}: see {label_of(node)}." for what in by.differs(data)]
    found.notes += [note for note in notes if note not in found.notes]


def _keep(found: _Import, node: Mapping[str, Any], counterpart: Counterpart, component: dict[str, Any]) -> None:
    found.parts[str(node["id"])] = _Part(node, counterpart, component, component)


def _add_agent(found: _Import, node: Mapping[str, Any]) -> None:
    """An agent: a language model, with its instructions as a prompt before it, or if it has tools an `agent_wave`."""
    data = properties_of(node)
    system, tools = data.get("system"), data.get("tools")
    instructions = [system] if isinstance(system, str) and system.strip() else []
    ports = dict.fromkeys(("prompt", "text", "messages"), QUESTIONS)
    if isinstance(tools, list) and tools:
        counterpart = Counterpart("agent_wave", ports, {ANY_HANDLE: ANSWER})
        component = found.add("agent_wave", {"instructions": instructions} if instructions else {}, node)
        _keep(found, node, counterpart, component)
        _add_model(found, node, component)
        for tool in tools:
            name = tool.get("name") if isinstance(tool, Mapping) else tool
            found.lacks(node["id"], f"the tool {shown(str(name))} has no counterpart; add one of tool_*")
        return
    before = None
    if instructions:
        before = found.add("prompt", {"instructions": instructions}, {})
    provider, config = _model(found, node)
    component = found.add(provider, config, node)
    part = _Part(node, Counterpart(provider, ports, {ANY_HANDLE: ANSWER}), component, before or component)
    if before is not None:
        component["input"] = [{"lane": "questions", "from": before["id"]}]
    found.parts[str(node["id"])] = part


def _add_model(found: _Import, node: Mapping[str, Any], invoker: dict[str, Any]) -> None:
    provider, config = _model(found, node)
    helper = found.add(provider, config, {})
    helper["control"] = [{"classType": "llm", "from": invoker["id"]}]


def _model(found: _Import, node: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The node type and the config of the language model that a node names."""
    data = properties_of(node)
    model = data.get("model")
    given = model if isinstance(model, Mapping) else {}
    origin, name = str(given.get("provider") or "").lower(), given.get("id")
    if origin not in MODELS or not isinstance(name, str) or not name:
        what = f"the model of {shown(origin)}" if origin and origin != "empty" else "a model"
        found.notes.append(
            f"{label_of(node)} names {what} that has no counterpart: the small local model smollm2 takes its place."
        )
        return "llm_llamacpp", {"profile": "smollm2"}
    provider, settings = MODELS[origin]
    most = data.get("max_tokens")
    limit = {"max_tokens": most} if isinstance(most, int) and not isinstance(most, bool) and most > 0 else {}
    return provider, {"model": name, **settings, **limit}


def _result(found: _Import, data: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a response: the name of its result, if it is free."""
    name = data.get("name")
    if not isinstance(name, str) or not name or len(name) > 128 or name in found.results:
        return {}
    found.results.add(name)
    return {"result_name": name}


def _add_edge(found: _Import, edge: Mapping[str, Any], by_id: Mapping[str, Mapping[str, Any]]) -> None:
    start, end = str(edge["source"]), str(edge["target"])
    origin, target = by_id.get(start), by_id.get(end)
    if origin is None or target is None:
        found.lacks(start if origin is None else end, "an edge names this node, which does not exist")
        return
    producer, consumer = found.parts.get(start), found.parts.get(end)
    handles = str(edge.get("sourceHandle") or ""), str(edge.get("targetHandle") or "")
    if consumer is not None:
        consumer.connected.add(handles[1])
    if consumer is not None and str(origin["type"]).startswith(CONSTANTS):
        producer = _set_constant(found, origin, consumer, handles[1])
    if producer is None or consumer is None:
        return  # the node itself is listed
    connection = _connection(producer, consumer, *handles)
    if connection is None:
        ends = f"{label_of(origin)}.{shown(handles[0])} to {label_of(target)}.{shown(handles[1])}"
        found.lacks(end, f"no lane carries the edge from {ends}; connect a component that converts it")
        return
    _connect(consumer, connection)


def _connect(consumer: _Part, connection: dict[str, str]) -> None:
    key = tuple(connection.items())
    if key not in consumer.connections:
        consumer.connections.add(key)
        consumer.entry.setdefault("input", []).append(connection)


def _connection(producer: _Part, consumer: _Part, out: str, into: str) -> dict[str, str] | None:
    """The entry of an edge; None if the two have no lane in common."""
    for lane, output in _ports(producer.counterpart.outputs, out):
        for taken, port in _ports(consumer.counterpart.inputs, into):
            if taken in (lane, "*"):
                entry = {"lane": lane, "from": producer.component["id"]}
                named = (("output", output), ("input", port))
                return entry | {key: name for key, name in named if name}
    return None


def _ports(known: Mapping[str, Ports], handle: str) -> Iterator[tuple[str, str]]:
    yield from known.get(handle, known.get(ANY_HANDLE, ()))


class _Recorded(dict[str, Any]):
    """Properties that record which of them are read."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        super().__init__(properties)
        self.read: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)


def _set_constant(found: _Import, constant: Mapping[str, Any], consumer: _Part, handle: str) -> _Part | None:
    """Puts the value of a constant into the config of the node that reads it. If the node has an input for it instead, returns the
    source that takes the place of the constant."""
    value, settings = properties_of(constant).get("value"), consumer.counterpart.settings
    data = _Recorded({**properties_of(consumer.node), **consumer.given, handle: value})
    config = settings(data)
    if handle in data.read:
        consumer.given[handle] = value
        if (
            config == settings({key: given for key, given in data.items() if key != handle})
            and value not in config.values()
        ):
            found.lacks(
                constant["id"], f"its value for {shown(handle)} of {label_of(consumer.node)} has no counterpart"
            )
        consumer.component["config"] = {**consumer.component.get("config", {}), **config}
        _note_differences(found, consumer.counterpart, consumer.component, consumer.node, data)
        return None
    if (known := found.parts.get(str(constant["id"]))) is not None:
        return known
    kind = str(constant["type"]).removeprefix(CONSTANTS)
    source = SOURCES.get(kind)
    if source is None or not list(_ports(consumer.counterpart.inputs, handle)):
        found.lacks(constant["id"], f"its value for {shown(handle)} of {label_of(consumer.node)} has no counterpart")
        return None
    given = f'the text "{shown(value)}"' if isinstance(value, str) else f"its {kind.lower()}"
    part = found.parts[str(constant["id"])] = _source(
        found, constant, source, f"the constant {label_of(constant)}", given
    )
    return part


def _source(found: _Import, node: Mapping[str, Any], source: Counterpart, replaced: str, given: str) -> _Part:
    """A source that takes the place of a value of a node."""
    component = found.add(source.provider, {}, node)
    found.notes.append(f"{component['id']} takes the place of {replaced}: send {given} as the input of a run.")
    return _Part(node, source, component, component)


def _add_values(found: _Import, part: _Part) -> None:
    """Adds a source for a text that was typed into a node whose inputs no edge leads to. Other such texts are missing."""
    data = properties_of(part.node)
    for handle in part.counterpart.inputs:
        value = data.get(handle)
        if handle in part.connected or not isinstance(value, str) or not value.strip():
            continue
        what = f'the text "{shown(value)}"'
        lanes = {lane for lane, _ in part.counterpart.inputs[handle]}
        if part.connections or lanes.isdisjoint(TEXT_LANES):
            found.lacks(part.node["id"], f"{what} of its {shown(handle)} has no counterpart; connect it as an input")
            continue
        source = _source(found, {}, SOURCES["Text"], f"{shown(handle)} of {label_of(part.node)}", what)
        if (connection := _connection(source, part, "output", handle)) is not None:
            _connect(part, connection)
