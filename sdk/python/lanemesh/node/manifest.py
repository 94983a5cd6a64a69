"""The manifest of a node type: what orchestrators, clients and pages read of it."""

from __future__ import annotations

import json
from collections.abc import Hashable
from functools import cache
from typing import Any, cast

from lanemesh.node.gpu import Gpu
from lanemesh.node.node import Node
from lanemesh.node.ports import InputSpec, OutputSpec
from lanemesh.v1 import node_pb2


def manifest_of(node: type[Node], service: str = "") -> node_pb2.Manifest:
    """The description of a node type. `service` names the service that it is deployed with."""
    return _manifest(cast("Hashable", node), service)


@cache
def _manifest(node: Any, service: str) -> node_pb2.Manifest:
    return node_pb2.Manifest(
        provider=node.provider,
        version=node.version,
        description=_docstring(node),
        service=service,
        inputs=[_input(spec) for spec in node.inputs_.values()],
        outputs=[_output(spec, one=node.sends_one) for spec in node.outputs_.values()],
        is_streaming_input=node.is_streaming_input(),
        is_streaming_output=node.is_streaming_output(),
        sync_mode=f"SYNC_MODE_{node.sync_mode.upper()}",  # type: ignore[arg-type]
        config_schema_json=json.dumps(node.Config.model_json_schema()),
        profiles_json=json.dumps(node.profiles),
        invokes=[
            node_pb2.Invocation(class_type=item.class_type, min=item.min, max=item.max or 0, name=item.name)
            for item in node.invokes
        ],
        offers=node.offers,
        boundary=f"BOUNDARY_{(node.boundary or 'unspecified').upper()}",  # type: ignore[arg-type]
        runs_to_end=node.runs_to_end,
        restartable=node.restartable,
        aliases=node.aliases,
        extra=node.pip_extra,
        packages=node.python_packages,
        feeds_itself=node.feeds_itself,
        gpu=_gpu_demand(node.gpu_),
    )


def _gpu_demand(gpu: Gpu | None) -> node_pb2.GpuDemand | None:
    if gpu is None:
        return None
    return node_pb2.GpuDemand(memory_bytes=gpu.stated_bytes, device=gpu.device, count=gpu.count)


def _docstring(node: type[Node]) -> str:
    import inspect

    return inspect.cleandoc(node.__doc__ or "")


def _input(spec: InputSpec) -> node_pb2.InputPort:
    return node_pb2.InputPort(
        name=spec.name,
        lane_type=spec.lane_type.wire if spec.lane_type else 0,  # type: ignore[arg-type]
        required=spec.required,
        list=spec.is_list,
        assembled=spec.assembled,
        description=spec.description,
    )


def _output(spec: OutputSpec, *, one: bool) -> node_pb2.OutputPort:
    return node_pb2.OutputPort(
        name=spec.name,
        lane_type=spec.lane_type.wire if spec.lane_type else 0,  # type: ignore[arg-type]
        multiplicity=node_pb2.MULTIPLICITY_ONE if one else node_pb2.MULTIPLICITY_UNSPECIFIED,
        description=spec.description,
    )
