"""A deployed pipeline, for its callers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from lanemesh.client.update_conversion import placement_from_wire
from lanemesh.client.updates import Placement
from lanemesh.v1 import deployment_pb2


class DeploymentState(StrEnum):
    """The state of a deployed pipeline. It compares and prints as its name."""

    READY = "ready"
    """Every server that it needs is available, and has loaded its resources."""
    WARMING = "warming"
    """Servers load its resources. Runs can start, and may take longer to begin."""
    DEGRADED = "degraded"
    """It cannot become ready; the detail has the cause. The orchestrator retries."""
    SUPERSEDED = "superseded"
    """A later version has replaced it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentInfo:
    """One version of a pipeline that is kept ready under a name."""

    name: str
    """Its name: run it as `Deployed(name)`."""
    version: int
    """Its version, from 1."""
    state: DeploymentState
    """Whether it is ready; it compares equal to its name: `info.state == "ready"`."""
    created_at: datetime
    """When this version was deployed: an aware datetime in UTC."""
    detail: str = ""
    """Details of its state, in words; may be empty."""
    active_runs: int = 0
    """Number of active runs of any of its versions."""
    placements: tuple[Placement, ...] = ()
    """The placements where its components are kept loaded, except on the orchestrator. A component has one entry per server."""
    pipeline_json: str = ""
    """Its pipeline: the document as JSON text, as it was given. `deployment()` has it; it is empty in what `deploy()` and
    `deployments()` return."""


def decode_deployment(deployment: deployment_pb2.Deployment, pipeline_json: str = "") -> DeploymentInfo:
    """The value of a deployment, with its document if that is known. Raises KeyError for an unknown state."""
    state = deployment_pb2.DeploymentState.Name(deployment.state).removeprefix("DEPLOYMENT_STATE_")
    return DeploymentInfo(
        name=deployment.name,
        version=deployment.version,
        state=DeploymentState[state] if deployment.state else DeploymentState.WARMING,
        created_at=deployment.created_at.ToDatetime(UTC),
        detail=deployment.detail,
        active_runs=deployment.active_runs,
        placements=tuple(map(placement_from_wire, deployment.placements)),
        pipeline_json=pipeline_json,
    )
