"""The bodies of responses of the HTTP API, for its document. Objects may get further fields in later versions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lanemesh_orchestrator.gateway.api.bodies import Document


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class Problem(_Answer):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = []
    faults: list[PipelineFaultAnswer] = []
    details: dict[str, str] = {}


class PipelineFaultAnswer(_Answer):
    """A fault of a pipeline document."""

    pointer: str
    reason: str
    message: str
    hint: str
    severity: Literal["error", "warning"]


class Ok(_Answer):
    """An empty object."""


class Taken(_Answer):
    """The number of values that a run has taken."""

    taken: int


class Started(_Answer):
    """A run that was started."""

    run_id: str


class FaultAnswer(_Answer):
    """A fault of a run."""

    code: str
    reason: str
    message: str
    details: dict[str, str]
    secondary: bool = False
    traceback: str = ""


class RunAnswer(_Answer):
    """The record of a run."""

    run_id: str
    name: str
    state: Literal["starting", "running", "completed", "failed", "cancelled"]
    created_at: str
    started_at: str = ""
    ended_at: str = ""
    error: FaultAnswer | None = None
    reason: str = ""
    deployment: str = ""
    deployment_version: int = 0
    detached: bool
    stored: bool
    last_sequence: int
    output_count: int


class RunList(_Answer):
    """A page of runs."""

    runs: list[RunAnswer]
    next_page: str = ""


class PlacementAnswer(_Answer):
    """The server of a component."""

    component: str
    provider: str
    server: str
    address: str = ""
    pid: int = 0


class ApprovalAnswer(_Answer):
    """An approval for which a component waits."""

    component: str
    call_id: str
    state: str
    tool: str = ""
    description: str = ""
    arguments: Any = None
    deadline: str = ""


class RunDetails(RunAnswer):
    """The record of a run, with its pipeline."""

    trace: Literal["none", "metadata", "summary", "full"]
    placements: list[PlacementAnswer]
    approvals: list[ApprovalAnswer]
    pipeline: dict[str, Any] | None


class DeploymentAnswer(_Answer):
    """A deployed pipeline."""

    name: str
    version: int
    state: Literal["ready", "warming", "degraded", "superseded"]
    created_at: str
    detail: str = ""
    active_runs: int
    placements: list[PlacementAnswer]


class DeploymentDetails(DeploymentAnswer):
    """A deployed pipeline with its document, without the values of secret settings."""

    pipeline: Document


class DeploymentList(_Answer):
    """The deployed pipelines."""

    deployments: list[DeploymentAnswer]


class PortAnswer(_Answer):
    """An input or an output of a node type."""

    name: str
    lane: str = ""
    description: str = ""


class NodeTypeAnswer(_Answer):
    """A node type."""

    provider: str
    description: str = ""
    service: str = ""
    inputs: list[PortAnswer] = []
    outputs: list[PortAnswer] = []
    config_schema: dict[str, Any] = {}
    aliases: list[str] = []
    boundary: Literal["source", "target"] | None = None


class NodeTypeList(_Answer):
    """The node types."""

    node_types: list[NodeTypeAnswer]


class ServerAnswer(_Answer):
    """A node server."""

    name: str
    address: str
    health: Literal["serving", "draining", "unreachable"]
    health_detail: str = ""
    active_instances: int
    max_instances: int | None
    labels: dict[str, str]
    node_types: list[str]


class ServerList(_Answer):
    """The node servers."""

    servers: list[ServerAnswer]


class GpuModelAnswer(_Answer):
    """A model that is loaded on a GPU."""

    name: str
    memory_bytes: int
    idle_seconds: float | None
    unloading: bool


class GpuDeviceAnswer(_Answer):
    """A GPU; sizes in bytes."""

    id: str
    name: str
    memory_bytes: int
    free_bytes: int
    leased_bytes: int
    model_bytes: int
    other_bytes: int
    observed: bool
    models: list[GpuModelAnswer]


class GpuLeaseAnswer(_Answer):
    """A lease of a GPU, or a request that waits for one."""

    id: str
    state: Literal["held", "yielded", "kept", "waiting", "resuming"]
    device: str
    component: str
    run_id: str
    server: str
    seconds: float
    peak_bytes: int
    model: str
    purpose: str
    position: int
    eta_seconds: float | None
    reason: str


class GpuAnswer(_Answer):
    """The GPUs of a mesh, their leases, and the requests that wait."""

    devices: list[GpuDeviceAnswer]
    leases: list[GpuLeaseAnswer]
    waiting: list[GpuLeaseAnswer]


class Faults(_Answer):
    """The faults of a pipeline."""

    faults: list[PipelineFaultAnswer]


class Published(_Answer):
    """A published message."""

    subscribers: int


class Health(_Answer):
    """The health of a gateway."""

    status: Literal["ok"]


Problem.model_rebuild()


class SessionAnswer(_Answer):
    """A kept session."""

    id: str
    deployment: str
    title: str
    created_at: str
    used_at: str
    expires_at: str
    last_turn: int
    size_bytes: int


class SessionList(_Answer):
    """Sessions, the last used first."""

    sessions: list[SessionAnswer]


class TurnAnswer(_Answer):
    """A turn of a session: a run."""

    number: int
    run_id: str
    state: Literal["starting", "running", "completed", "failed", "cancelled"]
    question: dict[str, Any]
    answer: dict[str, Any]
    created_at: str
    ended_at: str = ""
    truncated: bool = False


class SessionDetails(SessionAnswer):
    """A session with its turns."""

    turns: list[TurnAnswer]
