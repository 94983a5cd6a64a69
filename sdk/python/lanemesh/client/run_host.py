"""The interface for running pipelines that meshes and clients share."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from lanemesh.channels import Channels
from lanemesh.client.deployment_info import DeploymentInfo
from lanemesh.client.detached import DetachedRun
from lanemesh.client.gpus import GpuReport
from lanemesh.client.node_servers import NodeServerInfo
from lanemesh.client.node_types import NodeTypeInfo
from lanemesh.client.records import RunPage, RunRecord
from lanemesh.client.runs import Run
from lanemesh.client.specs import PipelineDocument, SessionId, Trace
from lanemesh.client.updates import RunState
from lanemesh.pipeline_faults import PipelineFault

if TYPE_CHECKING:
    from lanemesh.chat import ToolResult
    from lanemesh.client.requests import Request
    from lanemesh.client.sessions import Session, SessionInfo
    from lanemesh.client.tools import MeshTool, OnProgress


class RunHost(Protocol):
    """Runs pipelines: `Mesh` in this process, `Client` remotely."""

    def run(
        self,
        pipeline: PipelineDocument,
        *,
        input: Any = None,  # noqa: A002
        inputs: Iterable[Any] | AsyncIterable[Any] | None = None,
        open_input: bool = False,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        trace: Trace | None = None,
        variables: Mapping[str, str] | None = None,
        session: SessionId = "",
        source: str = "",
    ) -> Run:
        """A run of a pipeline. It starts when it is entered or first read."""

    def request(
        self,
        pipeline: PipelineDocument,
        input: Any = None,  # noqa: A002
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        trace: Trace | None = None,
        variables: Mapping[str, str] | None = None,
        session: SessionId = "",
        source: str = "",
        retries: int = 0,
    ) -> Request:
        """One input to a pipeline, and what it returns."""

    async def start(
        self,
        pipeline: PipelineDocument,
        *,
        input: Any = None,  # noqa: A002
        inputs: Iterable[Any] | None = None,
        open_input: bool = False,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        trace: Trace | None = None,
        variables: Mapping[str, str] | None = None,
        session: SessionId = "",
        source: str = "",
        idempotency_key: str = "",
    ) -> DetachedRun:
        """Starts a detached run, which continues without its caller."""

    def attach(self, run_id: str, from_sequence: int = 1) -> DetachedRun:
        """A running or stored run, with any caller."""

    def session(
        self,
        pipeline: PipelineDocument,
        id: str = "",  # noqa: A002
        *,
        owner: str = "",
        history_turns: int = 20,
        history_bytes: int = 64 * 1024,
        time_to_live: float = 30 * 86_400.0,
    ) -> Session:
        """A conversation over a pipeline, which the orchestrator keeps."""

    async def sessions(self, deployment: str = "", *, owner: str = "", limit: int = 100) -> list[SessionInfo]:
        """The kept sessions, the last used first."""

    async def session_of_run(self, run_id: str, *, owner: str = "") -> SessionInfo:
        """The kept session with the turn of a run."""

    async def approve(self, run_id: str, call_id: str, *, component: str = "") -> None:
        """Approves a call for which a component of a run waits."""

    async def refuse(self, run_id: str, call_id: str, reason: str = "", *, component: str = "") -> None:
        """Refuses a call for which a component of a run waits."""

    async def runs(
        self, *, limit: int = 100, states: Iterable[RunState | str] = (), deployment: str = ""
    ) -> list[RunRecord]:
        """The records of runs, the latest first."""

    async def run_page(
        self, *, limit: int = 100, states: Iterable[RunState | str] = (), deployment: str = "", page: str = ""
    ) -> RunPage:
        """One page of the records of runs, the latest first."""

    async def record(self, run_id: str) -> RunRecord:
        """The record of a run, with its pipeline."""

    def channels(self, run_id: str = "", *, name: str = "client") -> Channels:
        """The channels of a run, or without one those of the mesh, whose names begin with "mesh:"."""

    async def validate(
        self,
        pipeline: PipelineDocument,
        *,
        settings: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
        source: str = "",
    ) -> list[PipelineFault]:
        """All faults of a pipeline."""

    async def deploy(
        self,
        name: str,
        pipeline: PipelineDocument,
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> DeploymentInfo:
        """Keeps a pipeline ready under a name."""

    async def deployments(self) -> list[DeploymentInfo]:
        """The deployed pipelines."""

    async def deployment(self, name: str, version: int = 0) -> DeploymentInfo:
        """A deployed pipeline with its document."""

    async def undeploy(self, name: str) -> None:
        """Removes a deployed pipeline."""

    async def tools(self, deployment: str = "") -> list[MeshTool]:
        """The tools of the deployed pipelines."""

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | str | None = None,
        *,
        deployment: str = "",
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> ToolResult:
        """Calls a tool of a deployed pipeline."""

    async def node_types(self, names: Collection[str] | None = None) -> list[NodeTypeInfo]:
        """The node types, or those with certain names."""

    async def node_servers(self) -> list[NodeServerInfo]:
        """The node servers."""

    async def gpus(self) -> GpuReport:
        """The GPUs, their leases, and the requests that wait."""
