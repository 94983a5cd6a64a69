"""Records of runs, deployed pipelines, node types and node servers as JSON: the forms of `--json` and of the web gateway."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lanemesh.client.deployment_info import DeploymentInfo
from lanemesh.client.gpus import GpuReport
from lanemesh.client.node_servers import NodeServerInfo
from lanemesh.client.node_types import NodeTypeInfo
from lanemesh.client.records import RunRecord
from lanemesh.client.updates import ApprovalUpdate, Placement

from lanemesh_orchestrator.item_json import loads_or_text
from lanemesh_orchestrator.update_json import fault_json, time_json

Flat = dict[str, Any]


def record_json(record: RunRecord) -> Flat:
    """A record as JSON: the fields of `lanemesh.RunRecord`, without the pipeline, and the error as in updates."""
    flat: Flat = {"run_id": record.run_id, "name": record.name, "state": record.state}
    for field in ("created_at", "started_at", "ended_at"):
        if (time := getattr(record, field)) is not None:
            flat[field] = time_json(time)
    if record.error is not None:
        flat["error"] = fault_json(record.error)
    optional = {
        "reason": record.reason,
        "deployment": record.deployment,
        "deployment_version": record.deployment_version,
    }
    flat |= {name: value for name, value in optional.items() if value}
    flat |= {"detached": record.detached, "stored": record.stored}
    return flat | {"last_sequence": record.last_sequence, "output_count": record.output_count}


def record_placement_json(placement: Placement) -> Flat:
    """The server of a component, as in updates."""
    fields = {"component": placement.component, "provider": placement.provider, "server": placement.server}
    earlier = list(map(record_placement_json, placement.earlier))
    more = {"address": placement.address, "earlier": earlier}
    return {**fields, **{name: value for name, value in more.items() if value}, "pid": placement.pid}


def record_approval_json(approval: ApprovalUpdate) -> Flat:
    """A pending approval of a record, as in updates."""
    flat: Flat = {"component": approval.component, "call_id": approval.call_id, "state": approval.state}
    more = {"tool": approval.tool, "description": approval.description, "reason": approval.reason}
    flat |= {name: value for name, value in more.items() if value}
    if approval.arguments:
        flat["arguments"] = loads_or_text(approval.arguments)
    if approval.deadline is not None:
        flat["deadline"] = time_json(approval.deadline)
    return flat


def deployment_json(deployment: DeploymentInfo) -> Flat:
    """A deployed pipeline as JSON: the fields of `lanemesh.DeploymentInfo`, without the pipeline and an empty detail."""
    flat = asdict(deployment) | {"created_at": time_json(deployment.created_at)}
    for placement in flat["placements"]:
        del placement["earlier"]  # a deployment is kept where its servers are now
    return {name: value for name, value in flat.items() if name != "pipeline_json" and value != ""}


def node_type_json(info: NodeTypeInfo) -> Flat:
    """A node type as JSON: the fields of `lanemesh.NodeTypeInfo`, without those that are empty, false or null."""
    flat = asdict(info)
    flat |= {name: [_filled(part) for part in flat[name]] for name in ("inputs", "outputs", "invokes")}
    return _filled(flat)


def node_server_json(server: NodeServerInfo) -> Flat:
    """A node server as JSON."""
    return {
        "name": server.name,
        "address": server.address,
        "health": server.health,
        **({"health_detail": server.health_detail} if server.health_detail else {}),
        "active_instances": server.active_instances,
        "max_instances": server.max_instances,
        "labels": dict(server.labels),
        "node_types": list(server.node_types),
        "conflicting_node_types": list(server.conflicting_node_types),
        "replaced_node_types": list(server.replaced_node_types),
        "incomplete_node_types": list(server.incomplete_node_types),
        "static": server.static,
        "pid": server.pid,
    }


def gpus_json(report: GpuReport) -> Flat:
    """The GPUs of a mesh as JSON: the fields of `lanemesh.GpuReport`."""
    return asdict(report)


def _filled(flat: Flat) -> Flat:
    return {name: value for name, value in flat.items() if value or type(value) is int}
