"""A client for a remote orchestrator, with the interface of a mesh in this process."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc.aio

from lanemesh._aio.loops import misuse
from lanemesh._grpc.connections import ConnectionPool, check_address
from lanemesh._grpc.security import Security
from lanemesh._grpc.traceparent import trace_metadata
from lanemesh.channels import Channels
from lanemesh.channels.remote import RemoteChannels
from lanemesh.client.calls import CALL_SECONDS, call_fault, start_run, with_faults
from lanemesh.client.detached import DetachedRun
from lanemesh.client.inputs import to_input
from lanemesh.client.kept_runs import KeptRuns
from lanemesh.client.run_call import GrpcRunLink
from lanemesh.client.runs import Run
from lanemesh.client.specs import (
    PipelineDocument,
    SessionId,
    Trace,
    input_list,
    one_or_many,
    run_spec,
    wire_text,
)
from lanemesh.client.watching import GrpcDetachedLink
from lanemesh.faults import LanemeshError
from lanemesh.node.names import of_names
from lanemesh.pipeline_faults import PipelineFault
from lanemesh.times import set_seconds
from lanemesh.v1 import registry_pb2, registry_pb2_grpc, run_pb2, run_pb2_grpc

if TYPE_CHECKING:
    from lanemesh.chat import ToolResult
    from lanemesh.client.deployment_info import DeploymentInfo
    from lanemesh.client.deployments import DeploymentCalls
    from lanemesh.client.gpus import GpuReport
    from lanemesh.client.node_servers import NodeServerInfo
    from lanemesh.client.node_types import NodeTypeInfo
    from lanemesh.client.requests import Request, RequestLimit
    from lanemesh.client.sessions import SessionLink
    from lanemesh.client.tools import MeshTool, OnProgress


class Client(KeptRuns):
    """Runs pipelines on the orchestrator at "host:port". Use it as `async with Client(address) as client:`."""

    def __init__(
        self,
        address: str,
        *,
        proxy: bool = True,
        token: str | None = None,
        tls: bool | str | Path | None = None,
    ) -> None:
        """A client of the orchestrator at this address, which is dialled on first use.

        Args:
            address: "host:port".
            proxy: use the proxy that `grpc_proxy`, `https_proxy` or `http_proxy` names, unless `no_proxy` excludes the host; a
                loopback address is always reached without one.
            token: the bearer token that calls carry; None: that of `LANEMESH_TOKEN` or `LANEMESH_TOKEN_FILE`; empty: none.
            tls: whether connections are encrypted. None: if `LANEMESH_TLS_CA` is set. True: also without it, by the certificate
                authorities of the system. A path: by those of this PEM file. False: no. `LANEMESH_TLS_CERT` and `LANEMESH_TLS_KEY`
                name the client's own certificate, for servers that require one.

        Raises:
            LanemeshError: the address is invalid, or these settings contradict each other ("bad-security"). When it dials: their
                files cannot be used ("bad-security"), or the token would leave this machine unencrypted ("insecure-token").
        """
        check_address(address)
        self.address = address
        self._pool = ConnectionPool(proxy=proxy, security=Security.from_environment().for_client(token, tls))
        self._broker = RemoteChannels(self._pool, address)
        self._requests: RequestLimit | None = None
        self._runs_stub: tuple[grpc.aio.Channel, run_pb2_grpc.RunServiceAsyncStub] | None = None
        """The stub of the last connection: each run needs it several times."""
        self._closed = False

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
        """A run of a pipeline. It starts when it is entered or first read, and is cancelled
        if this client goes away. The arguments are those of `Mesh.run`.

        Raises:
            PipelineInvalid: when it starts, with every fault of the pipeline.
            LanemeshError: when it starts: the orchestrator cannot be reached, or has no capacity.
        """
        spec = run_spec(pipeline, settings, timeout, trace, variables, session, source)
        return Run(self._link(spec), input_list(input, inputs), open_input=open_input)

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
        """One input to a pipeline, and what it returns: `await client.request("@chat", "hello").text()`. The arguments and errors
        are those of `Mesh.request`."""
        from lanemesh.client.requests import Request, RequestLimit

        spec = run_spec(pipeline, settings, timeout, trace, variables, session, source)
        if self._requests is None:
            self._requests = RequestLimit()

        def link(seconds: float | None) -> GrpcRunLink:
            if seconds is not None:
                set_seconds(spec.timeout, seconds)
            return self._link(spec)

        return Request(link, input, self._requests, timeout=timeout, retries=retries)

    def channels(self, run_id: str = "", *, name: str = "client") -> Channels:
        """The channels of a run, or without one those of the mesh, whose names begin with "mesh:". `name` is reported to the
        subscribers of messages that are published here."""
        return Channels(self._open_broker, run_id=run_id, name=name)

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
        """Starts a run that continues without this client. The arguments are those of `Mesh.start`. If the caller is cancelled
        before it has the run, the run is cancelled.

        Raises:
            PipelineInvalid: with every fault of the pipeline.
            LanemeshError: the inputs are larger than a message (16 MiB), or the orchestrator cannot be reached.
        """
        given = [to_input(value) for value in one_or_many(input, inputs)]
        spec = run_spec(pipeline, settings, timeout, trace, variables, session, source)
        spec.idempotency_key = wire_text(idempotency_key, "an idempotency key")
        request = run_pb2.StartRunRequest(spec=spec, inputs=given, open_input=open_input)
        try:
            run_id = await start_run(self._runs, request, trace_metadata(), self.address)
        except LanemeshError as error:
            raise await with_faults(error, self._runs, spec) from None
        return self.attach(run_id)

    def attach(self, run_id: str, from_sequence: int = 1) -> DetachedRun:
        """A running or stored run of the orchestrator, by its id, with any caller. Its updates are read from `from_sequence` on.

        A run that was started by `run`, by this or another client, can be watched and cancelled; only its caller can feed it.
        """
        link = GrpcDetachedLink(lambda: self._runs, wire_text(run_id, "the id of a run"), self.address)
        return DetachedRun(run_id, link, self.channels(run_id), from_sequence)

    async def validate(
        self,
        pipeline: PipelineDocument,
        *,
        settings: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
        source: str = "",
    ) -> list[PipelineFault]:
        """All faults of a pipeline, warnings included; empty if it can run."""
        request = run_pb2.ValidatePipelineRequest(spec=run_spec(pipeline, settings, variables=variables, source=source))
        response = await self._call(self._runs.ValidatePipeline(request, timeout=CALL_SECONDS))
        return [PipelineFault.from_proto(fault) for fault in response.faults]

    async def deploy(
        self,
        name: str,
        pipeline: PipelineDocument,
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> DeploymentInfo:
        """Keeps a pipeline ready there under a name; returns when it is. The arguments are those of `Mesh.deploy`.

        Raises:
            PipelineInvalid: with every fault of the pipeline. The previous version stays.
            LanemeshError: it cannot be made ready, or the orchestrator cannot be reached. The previous version stays.
        """
        spec = run_spec(pipeline, settings, timeout, variables=variables)
        try:
            return await self._deployments.deploy(name, spec)
        except LanemeshError as error:
            raise await with_faults(error, self._runs, spec, for_run=False) from None

    async def deployments(self) -> list[DeploymentInfo]:
        """The deployed pipelines, in alphabetical order."""
        return await self._deployments.all()

    async def deployment(self, name: str, version: int = 0) -> DeploymentInfo:
        """A deployed pipeline with its document; version 0 is the current one. Raises LanemeshError if there is none."""
        return await self._deployments.get(name, version)

    async def undeploy(self, name: str) -> None:
        """Removes a deployed pipeline; its runs continue to their end. Raises LanemeshError if there is none."""
        await self._deployments.remove(name)

    async def tools(self, deployment: str = "") -> list[MeshTool]:
        """The tools of the deployed pipelines there. The arguments and errors are those of `Mesh.tools`."""
        from lanemesh.client.tool_calls import list_tools

        return await list_tools(self._channel, self._call, deployment)

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | str | None = None,
        *,
        deployment: str = "",
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> ToolResult:
        """Calls a tool of a deployed pipeline there. The arguments and errors are those of `Mesh.call_tool`."""
        from lanemesh.client.tool_calls import call_tool
        from lanemesh.client.tools import result_of, tool_request

        request = tool_request(name, arguments, timeout)
        return await result_of(call_tool(self._channel, self.address, deployment, request), name, on_progress)

    async def node_types(self, names: Collection[str] | None = None) -> list[NodeTypeInfo]:
        """The node types, in alphabetical order; with `names` only those with one of these names or aliases."""
        from lanemesh.client.node_types import decode_node_type

        request = registry_pb2.ListNodeTypesRequest()
        there = list((await self._call(self._registry.ListNodeTypes(request, timeout=CALL_SECONDS))).manifests)
        if names is not None:
            there = of_names(names, {manifest.provider: manifest for manifest in there})
        return list(map(decode_node_type, there))

    async def node_servers(self) -> list[NodeServerInfo]:
        """The node servers that have joined, and those whose address the orchestrator was given."""
        from lanemesh.client.node_servers import decode_node_server

        request = registry_pb2.ListNodeServersRequest()
        response = await self._call(self._registry.ListNodeServers(request, timeout=CALL_SECONDS))
        return list(map(decode_node_server, response.servers))

    async def gpus(self) -> GpuReport:
        """The GPUs of the mesh's arbiter, their leases, and the requests that wait."""
        from lanemesh.client.gpus import decode_gpus
        from lanemesh.v1 import gpu_pb2, gpu_pb2_grpc

        stub = gpu_pb2_grpc.GpuArbiterServiceStub(self._channel)
        devices = await self._call(stub.ListDevices(gpu_pb2.ListDevicesRequest(), timeout=CALL_SECONDS))
        leases = await self._call(stub.ListLeases(gpu_pb2.ListLeasesRequest(), timeout=CALL_SECONDS))
        return decode_gpus(devices.devices, leases.leases)

    async def close(self) -> None:
        """Disconnects; runs that were started here by `run` or `request` are cancelled. Later calls raise LanemeshError
        ("closed")."""
        self._closed = True
        await self._pool.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _link(self, spec: run_pb2.RunSpec) -> GrpcRunLink:
        return GrpcRunLink(lambda: self._runs, spec, self.address, self.channels)

    def _open_broker(self) -> RemoteChannels:
        self._check_open()
        return self._broker

    def _check_open(self) -> None:
        if self._closed:
            raise misuse("closed", "this Client is closed: create another one")

    def forward_tokens(self) -> None:
        """Lets calls carry the token of `token_of_caller` where one is set: for servers that pass on the calls of others. Must be
        called before the first call."""
        self._pool.forward_tokens()

    @property
    def _channel(self) -> grpc.aio.Channel:
        """The connection; a new one if the last is gone, because the orchestrator may have moved to another address."""
        self._check_open()
        return self._pool.channel(self.address)

    @property
    def _runs(self) -> run_pb2_grpc.RunServiceAsyncStub:
        channel = self._channel
        if self._runs_stub is None or self._runs_stub[0] is not channel:
            self._runs_stub = channel, run_pb2_grpc.RunServiceStub(channel)
        return self._runs_stub[1]

    @property
    def _registry(self) -> registry_pb2_grpc.RegistryServiceAsyncStub:
        return registry_pb2_grpc.RegistryServiceStub(self._channel)

    async def _list_runs(self, request: run_pb2.ListRunsRequest) -> run_pb2.ListRunsResponse:
        response: run_pb2.ListRunsResponse = await self._call(self._runs.ListRuns(request, timeout=CALL_SECONDS))
        return response

    async def _get_run(self, run_id: str) -> run_pb2.GetRunResponse:
        request = run_pb2.GetRunRequest(run_id=wire_text(run_id, "the id of a run"))
        response: run_pb2.GetRunResponse = await self._call(self._runs.GetRun(request, timeout=CALL_SECONDS))
        return response

    @property
    def _deployments(self) -> DeploymentCalls:
        from lanemesh.client.deployments import DeploymentCalls

        return DeploymentCalls(self._channel, self._call)

    @property
    def _sessions(self) -> SessionLink:
        from lanemesh.client.sessions import GrpcSessionLink

        return GrpcSessionLink(lambda: self._channel, self._call)

    async def _call(self, call: Any) -> Any:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise LanemeshError(call_fault(error, self.address)) from None
