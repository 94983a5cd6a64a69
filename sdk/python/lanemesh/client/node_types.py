"""A node type, as described by its manifest, and the manifest's protobuf form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lanemesh.client.update_conversion import lane_name
from lanemesh.items import LaneType
from lanemesh.json_values import FrozenDict
from lanemesh.v1 import node_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class InputInfo:
    """An input of a node type."""

    name: str
    """Unique among the inputs of the node type."""
    lane: str = ""
    """Type of its items, such as "text"; empty: any, and the component's config or edge decides."""
    required: bool = False
    """It must be connected, and needs an item before the node fires."""
    is_list: bool = False
    """It collects all its items into one list."""
    assembled: bool = False
    """It takes whole answers or files, assembled from their pieces."""
    description: str = ""
    """Its purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputInfo:
    """An output of a node type."""

    name: str
    """Unique among the outputs of the node type."""
    lane: str = ""
    """Type of its items, such as "text"; empty: the component's config decides."""
    multiplicity: Literal["one", "many"] | None = None
    """Number of items that it sends: "one" at most, or "many"; None: the orchestrator derives it from the pipeline."""
    description: str = ""
    """Its contents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvokesInfo:
    """A kind of helper that a node type calls, and how many of them."""

    class_type: str
    """The kind of helper: "llm", "tool", "memory" or "agent"."""
    min: int = 0
    """Least number of helpers."""
    max: int | None = None
    """Most helpers; None: any number."""
    name: str = ""
    """The name by which the node calls these helpers; empty: they have no name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTypeInfo:
    """A node type that pipelines can use."""

    provider: str
    """The name that pipelines use, in snake_case."""
    version: str = ""
    """Version of the node type."""
    description: str = ""
    """Its description; the first line is a summary."""
    service: str = ""
    """The service of the node type, such as "llm": the unit of deployment."""
    inputs: tuple[InputInfo, ...] = ()
    """Its inputs."""
    outputs: tuple[OutputInfo, ...] = ()
    """Its outputs."""
    is_streaming_input: bool = False
    """It reads its inputs itself, in one call of `run`."""
    is_streaming_output: bool = False
    """It may send several items per firing."""
    sync_mode: str = "on_any"
    """Its firing policy, unless a component sets another: "on_any", "zip_all" or "join"."""
    config_schema: Mapping[str, Any] = FrozenDict()
    """JSON schema of its settings, immutable. Empty if it has none."""
    profiles: Mapping[str, Mapping[str, Any]] = FrozenDict()
    """Named sets of settings, immutable."""
    invokes: tuple[InvokesInfo, ...] = ()
    """Helpers that it calls."""
    offers: tuple[str, ...] = ()
    """The kinds of helper that it offers: "llm", "tool", "memory" or "agent"."""
    boundary: Literal["source", "target"] | None = None
    """"source" if clients feed it, "target" if it delivers to clients; None: neither."""
    restartable: bool = False
    """It may be placed again after the loss of its server."""
    runs_to_end: bool = False
    """It continues when all its output lanes are stopped."""
    aliases: tuple[str, ...] = ()
    """Other names under which pipelines may use it."""
    extra: str = ""
    """The extra of the package `lanemesh` that installs its libraries, such as "documents"; empty: none."""
    packages: tuple[str, ...] = ()
    """Import names of the Python packages that it needs."""
    missing_packages: tuple[str, ...] = ()
    """Those that are missing on every node server that offers it; empty if it can run."""
    feeds_itself: bool = False
    """It is a source that feeds itself, such as a timer."""


def decode_node_type(manifest: node_pb2.Manifest) -> NodeTypeInfo:
    """The value of a manifest. Raises ValueError or TypeError if its schema or its profiles are not a JSON objects."""
    return NodeTypeInfo(
        provider=manifest.provider,
        version=manifest.version,
        description=manifest.description,
        service=manifest.service,
        inputs=tuple(map(_decode_input, manifest.inputs)),
        outputs=tuple(map(_decode_output, manifest.outputs)),
        is_streaming_input=manifest.is_streaming_input,
        is_streaming_output=manifest.is_streaming_output,
        sync_mode=_word(node_pb2.SyncMode.Name(manifest.sync_mode), "SYNC_MODE_") or "on_any",
        config_schema=_object(manifest.config_schema_json),
        profiles=_object(manifest.profiles_json),
        invokes=tuple(
            InvokesInfo(class_type=one.class_type, min=one.min, max=one.max or None, name=one.name)
            for one in manifest.invokes
        ),
        offers=tuple(manifest.offers),
        boundary=_BOUNDARIES.get(manifest.boundary),
        restartable=manifest.restartable,
        runs_to_end=manifest.runs_to_end,
        aliases=tuple(manifest.aliases),
        extra=manifest.extra,
        packages=tuple(manifest.packages),
        missing_packages=tuple(manifest.missing_packages),
        feeds_itself=manifest.feeds_itself,
    )


def encode_node_type(info: NodeTypeInfo) -> node_pb2.Manifest:
    """The manifest of a node type, for the functions that resolve pipelines."""
    return node_pb2.Manifest(
        provider=info.provider,
        version=info.version,
        description=info.description,
        service=info.service,
        inputs=[
            node_pb2.InputPort(
                name=one.name,
                lane_type=_wire_lane(one.lane),
                required=one.required,
                list=one.is_list,
                assembled=one.assembled,
                description=one.description,
            )
            for one in info.inputs
        ],
        outputs=[
            node_pb2.OutputPort(
                name=one.name,
                lane_type=_wire_lane(one.lane),
                multiplicity=node_pb2.Multiplicity.Value(f"MULTIPLICITY_{(one.multiplicity or 'unspecified').upper()}"),
                description=one.description,
            )
            for one in info.outputs
        ],
        is_streaming_input=info.is_streaming_input,
        is_streaming_output=info.is_streaming_output,
        sync_mode=node_pb2.SyncMode.Value(f"SYNC_MODE_{info.sync_mode.upper()}"),
        config_schema_json=json.dumps(info.config_schema),
        profiles_json=json.dumps(info.profiles),
        invokes=[
            node_pb2.Invocation(class_type=one.class_type, min=one.min, max=one.max or 0, name=one.name)
            for one in info.invokes
        ],
        offers=info.offers,
        boundary=node_pb2.Boundary.Value(f"BOUNDARY_{(info.boundary or 'unspecified').upper()}"),
        restartable=info.restartable,
        runs_to_end=info.runs_to_end,
        aliases=info.aliases,
        extra=info.extra,
        packages=info.packages,
        missing_packages=info.missing_packages,
        feeds_itself=info.feeds_itself,
    )


_BOUNDARIES: Mapping[int, Literal["source", "target"]] = {
    node_pb2.BOUNDARY_SOURCE: "source",
    node_pb2.BOUNDARY_TARGET: "target",
}
_MULTIPLICITIES: Mapping[int, Literal["one", "many"]] = {
    node_pb2.MULTIPLICITY_ONE: "one",
    node_pb2.MULTIPLICITY_MANY: "many",
}


def _decode_input(port: node_pb2.InputPort) -> InputInfo:
    return InputInfo(
        name=port.name,
        lane=lane_name(port.lane_type),
        required=port.required,
        is_list=port.list,
        assembled=port.assembled,
        description=port.description,
    )


def _decode_output(port: node_pb2.OutputPort) -> OutputInfo:
    return OutputInfo(
        name=port.name,
        lane=lane_name(port.lane_type),
        multiplicity=_MULTIPLICITIES.get(port.multiplicity),
        description=port.description,
    )


def _wire_lane(lane: str) -> Any:
    return LaneType(lane).wire if lane else 0


def _word(name: str, prefix: str) -> str:
    word = name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word


def _object(text: str) -> Any:
    value = json.loads(text) if text else {}
    if not isinstance(value, dict):
        raise TypeError(f"a JSON object is needed, not {type(value).__name__}")
    return _frozen(value)


def _frozen(value: Any) -> Any:
    """The JSON value in immutable form. Unlike on lanes, its integers may have any size: schemas have large bounds."""
    if isinstance(value, dict):
        return FrozenDict({key: _frozen(one) for key, one in value.items()})
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
