"""DeploymentService over gRPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc.aio
from lanemesh._grpc.status import abort
from lanemesh.faults import LanemeshError
from lanemesh.v1 import deployment_pb2, deployment_pb2_grpc

from lanemesh_orchestrator.audit import audited

if TYPE_CHECKING:
    from lanemesh_orchestrator.deployments.deployments import Deployments

Context = grpc.aio.ServicerContext[Any, Any]


class DeploymentService(deployment_pb2_grpc.DeploymentServiceServicer):
    """Deploys pipelines for clients."""

    def __init__(self, deployments: Callable[[], Deployments]) -> None:
        """`deployments` returns them; they are created at the first call."""
        self._deployments = deployments

    async def Deploy(self, request: deployment_pb2.DeployRequest, context: Context) -> deployment_pb2.DeployResponse:
        """Deploys a pipeline. If the caller disconnects meanwhile, nothing is deployed."""
        async with audited(context, "DeploymentService.Deploy", deployment=request.name) as act:
            deployed = await self._deployments().deploy(request.name, request.spec)
            act.fields["version"] = deployed.version
        return deployment_pb2.DeployResponse(deployment=deployed)

    async def ListDeployments(
        self, request: deployment_pb2.ListDeploymentsRequest, context: Context
    ) -> deployment_pb2.ListDeploymentsResponse:
        """The deployed pipelines."""
        return deployment_pb2.ListDeploymentsResponse(deployments=self._deployments().all())

    async def GetDeployment(
        self, request: deployment_pb2.GetDeploymentRequest, context: Context
    ) -> deployment_pb2.GetDeploymentResponse:
        """One of them, with its pipeline."""
        try:
            deployment, spec = self._deployments().get(request.name, request.version)
        except LanemeshError as error:
            await abort(context, error.fault)
        return deployment_pb2.GetDeploymentResponse(deployment=deployment, pipeline_json=spec.pipeline_json)

    async def Undeploy(
        self, request: deployment_pb2.UndeployRequest, context: Context
    ) -> deployment_pb2.UndeployResponse:
        """Removes one."""
        async with audited(context, "DeploymentService.Undeploy", deployment=request.name):
            await self._deployments().undeploy(request.name)
        return deployment_pb2.UndeployResponse()
