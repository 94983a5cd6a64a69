"""What a mesh has: node types and node servers; validation of pipelines; health."""

from __future__ import annotations

import asyncio
import difflib

from lanemesh.faults import Code, Fault, LanemeshError
from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.api.bodies import Validate
from lanemesh_orchestrator.gateway.api.endpoint import Answer, Endpoint
from lanemesh_orchestrator.gateway.api.responses import Faults, Health, NodeTypeAnswer, NodeTypeList, ServerList
from lanemesh_orchestrator.gateway.bodies import read_model
from lanemesh_orchestrator.gateway.gateway import check_documents, gateway_of
from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.problems import pipeline_fault_json, problem
from lanemesh_orchestrator.record_json import node_server_json, node_type_json

HEALTH_SECONDS = 5.0
"""Time limit for the mesh to answer a check of health."""


async def list_node_types(request: Request) -> Response:
    """The node types, in alphabetical order."""
    return Json({"node_types": list(map(node_type_json, await gateway_of(request).mesh.node_types()))})


async def get_node_type(request: Request) -> Response:
    """One node type, by its name or an alias."""
    name = request.path_params["name"]
    mesh = gateway_of(request).mesh
    found = await mesh.node_types([name])
    if not found:
        near = difflib.get_close_matches(name, [one.provider for one in await mesh.node_types()], n=1)
        hint = f"Nearest: {near[0]}" if near else "GET /v1/node-types lists them"
        message = f'there is no node type "{name[:80]}". {hint}'
        raise LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-provider", message=message))
    return Json(node_type_json(found[0]))


async def list_servers(request: Request) -> Response:
    """The node servers."""
    return Json({"servers": list(map(node_server_json, await gateway_of(request).mesh.node_servers()))})


async def validate(request: Request) -> Response:
    """All faults of a pipeline, warnings included."""
    body = await read_model(request, Validate)
    check_documents(request, body.pipeline, body.settings)
    faults = await gateway_of(request).mesh.validate(
        body.pipeline, settings=body.settings, variables=body.variables, source=body.source
    )
    return Json({"faults": list(map(pipeline_fault_json, faults))})


async def health(request: Request) -> Response:
    """Whether the gateway reaches its mesh."""
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            await gateway_of(request).mesh.node_servers()
    except (LanemeshError, TimeoutError) as error:
        if isinstance(error, LanemeshError) and error.fault.code in (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED):
            return Json({"status": "ok"})  # it answers: callers send tokens of their own
        message = "the mesh does not answer. Is its orchestrator running?"
        return problem(503, "unreachable", message, headers={"Retry-After": "1"})
    return Json({"status": "ok"})


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/v1/node-types",
        handler=list_node_types,
        summary="List node types",
        tag="mesh",
        answers={200: Answer(description="The node types.", schema=NodeTypeList)},
    ),
    Endpoint(
        method="GET",
        path="/v1/node-types/{name}",
        handler=get_node_type,
        summary="Get a node type",
        tag="mesh",
        answers={200: Answer(description="The node type.", schema=NodeTypeAnswer)},
    ),
    Endpoint(
        method="GET",
        path="/v1/servers",
        handler=list_servers,
        summary="List node servers",
        tag="mesh",
        answers={200: Answer(description="The node servers; none of a mesh in one process.", schema=ServerList)},
    ),
    Endpoint(
        method="POST",
        path="/v1/validate",
        handler=validate,
        summary="Validate a pipeline",
        tag="mesh",
        body=Validate,
        answers={200: Answer(description="Its faults; none if it can run.", schema=Faults)},
    ),
    Endpoint(
        method="GET",
        path="/healthz",
        handler=health,
        summary="Check the health of the gateway",
        tag="mesh",
        answers={200: Answer(description="The mesh answers.", schema=Health)},
    ),
)
