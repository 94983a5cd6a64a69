"""Calls about deployed pipelines, to a remote orchestrator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from lanemesh.client.calls import CALL_SECONDS
from lanemesh.client.deployment_info import DeploymentInfo, decode_deployment
from lanemesh.client.specs import wire_text
from lanemesh.v1 import deployment_pb2, deployment_pb2_grpc, run_pb2

DEPLOY_SECONDS = 660.0
"""Longest time for a deployment; the orchestrator gives up a minute earlier."""


class DeploymentCalls:
    """DeploymentService, as a client calls it."""

    def __init__(self, channel: grpc.aio.Channel, call: Callable[[Any], Awaitable[Any]]) -> None:
        """`call` awaits a call, and raises LanemeshError if it fails."""
        self._stub = deployment_pb2_grpc.DeploymentServiceStub(channel)
        self._call = call

    async def deploy(self, name: str, spec: run_pb2.RunSpec) -> DeploymentInfo:
        """Deploys a pipeline; returns the deployment."""
        request = deployment_pb2.DeployRequest(name=wire_text(name, "the name of a deployed pipeline"), spec=spec)
        response: deployment_pb2.DeployResponse = await self._call(self._stub.Deploy(request, timeout=DEPLOY_SECONDS))
        return decode_deployment(response.deployment)

    async def all(self) -> list[DeploymentInfo]:
        """The current version of each deployment."""
        request = deployment_pb2.ListDeploymentsRequest()
        response = await self._call(self._stub.ListDeployments(request, timeout=CALL_SECONDS))
        return list(map(decode_deployment, response.deployments))

    async def get(self, name: str, version: int) -> DeploymentInfo:
        """One deployment, with its document."""
        request = deployment_pb2.GetDeploymentRequest(
            name=wire_text(name, "the name of a deployed pipeline"), version=version
        )
        response: deployment_pb2.GetDeploymentResponse = await self._call(
            self._stub.GetDeployment(request, timeout=CALL_SECONDS)
        )
        return decode_deployment(response.deployment, response.pipeline_json)

    async def remove(self, name: str) -> None:
        """Removes a deployment."""
        request = deployment_pb2.UndeployRequest(name=wire_text(name, "the name of a deployed pipeline"))
        await self._call(self._stub.Undeploy(request, timeout=CALL_SECONDS))
