"""Deployed pipelines: list, get, deploy and undeploy."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.api.bodies import Deploy, GetDeployment
from lanemesh_orchestrator.gateway.api.endpoint import Answer, Endpoint
from lanemesh_orchestrator.gateway.api.responses import DeploymentAnswer, DeploymentDetails, DeploymentList
from lanemesh_orchestrator.gateway.bodies import read_model, read_query
from lanemesh_orchestrator.gateway.documents import public_document
from lanemesh_orchestrator.gateway.gateway import check_documents, gateway_of
from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.record_json import deployment_json


async def list_deployments(request: Request) -> Response:
    """The current version of each deployed pipeline."""
    found = await gateway_of(request).mesh.deployments()
    return Json({"deployments": list(map(deployment_json, found))})


async def get_deployment(request: Request) -> Response:
    """A deployed pipeline with its document."""
    query = read_query(request, GetDeployment)
    mesh = gateway_of(request).mesh
    found = await mesh.deployment(request.path_params["name"], query.version)
    return Json(deployment_json(found) | {"pipeline": await public_document(mesh, found.pipeline_json)})


async def deploy(request: Request) -> Response:
    """Deploys a pipeline. Returns when it is ready; the previous version serves runs until then."""
    check_documents(request)
    body, name = await read_model(request, Deploy), request.path_params["name"]
    deployed = await gateway_of(request).mesh.deploy(
        name, body.pipeline, settings=body.settings, timeout=body.timeout, variables=body.variables
    )
    status = 201 if deployed.version == 1 else 200
    return Json(deployment_json(deployed), status, {"Location": f"/v1/deployments/{deployed.name}"})


async def undeploy(request: Request) -> Response:
    """Removes a deployed pipeline. Its active runs continue."""
    check_documents(request)
    await gateway_of(request).mesh.undeploy(request.path_params["name"])
    return Response(status_code=204)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/v1/deployments",
        handler=list_deployments,
        summary="List deployed pipelines",
        tag="deployments",
        answers={200: Answer(description="The current versions.", schema=DeploymentList)},
    ),
    Endpoint(
        method="GET",
        path="/v1/deployments/{name}",
        handler=get_deployment,
        summary="Get a deployed pipeline",
        tag="deployments",
        query=GetDeployment,
        answers={200: Answer(description="The deployed pipeline.", schema=DeploymentDetails)},
    ),
    Endpoint(
        method="PUT",
        path="/v1/deployments/{name}",
        handler=deploy,
        summary="Deploy a pipeline",
        tag="deployments",
        description="Returns when it is ready. The previous version serves runs until then.",
        body=Deploy,
        answers={
            200: Answer(description="A further version is deployed.", schema=DeploymentAnswer),
            201: Answer(description="The first version is deployed.", schema=DeploymentAnswer),
        },
    ),
    Endpoint(
        method="DELETE",
        path="/v1/deployments/{name}",
        handler=undeploy,
        summary="Remove a deployed pipeline",
        tag="deployments",
        description="Its active runs continue.",
        answers={204: Answer(description="It is removed.")},
    ),
)
