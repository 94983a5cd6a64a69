"""Sessions: list, get, fork and delete the conversations of the caller."""

from __future__ import annotations

from lanemesh.client.sessions import Session
from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.api.bodies import ForkSession, ListSessions
from lanemesh_orchestrator.gateway.api.endpoint import Answer, Endpoint
from lanemesh_orchestrator.gateway.api.responses import SessionAnswer, SessionDetails, SessionList
from lanemesh_orchestrator.gateway.bodies import read_model, read_query
from lanemesh_orchestrator.gateway.gateway import gateway_of, owner_of
from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.update_json import session_json, turn_json


async def list_sessions(request: Request) -> Response:
    """The sessions of the caller, the last used first."""
    query = read_query(request, ListSessions)
    found = await gateway_of(request).mesh.sessions(query.deployment, owner=owner_of(request), limit=query.limit)
    return Json({"sessions": list(map(session_json, found))})


async def get_session(request: Request) -> Response:
    """A session with its turns."""
    session = _session_of(request)
    info = await session.info()
    return Json({**session_json(info), "turns": list(map(turn_json, await session.turns()))})


async def delete_session(request: Request) -> Response:
    """Deletes a session."""
    await _session_of(request).delete()
    return Response(status_code=204)


async def fork_session(request: Request) -> Response:
    """Copies the first turns of a session to a new one."""
    body = await read_model(request, ForkSession)
    fork = await _session_of(request).fork(body.turn, id=body.id)
    return Json(session_json(await fork.info()), 201, {"Location": f"/v1/sessions/{fork.id}"})


def _session_of(request: Request) -> Session:
    return gateway_of(request).mesh.session("", request.path_params["session_id"], owner=owner_of(request))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/v1/sessions",
        handler=list_sessions,
        summary="List sessions",
        tag="sessions",
        description="The conversations of the caller. The field `session`, or the header `Lanemesh-Session`, of a new run makes it "
        "the next turn of one, and creates it by its first turn.",
        query=ListSessions,
        answers={200: Answer(description="The sessions, the last used first.", schema=SessionList)},
    ),
    Endpoint(
        method="GET",
        path="/v1/sessions/{session_id}",
        handler=get_session,
        summary="Get a session",
        tag="sessions",
        answers={200: Answer(description="The session with its turns.", schema=SessionDetails)},
    ),
    Endpoint(
        method="DELETE",
        path="/v1/sessions/{session_id}",
        handler=delete_session,
        summary="Delete a session",
        tag="sessions",
        answers={204: Answer(description="The session is deleted.")},
    ),
    Endpoint(
        method="POST",
        path="/v1/sessions/{session_id}/fork",
        handler=fork_session,
        summary="Fork a session",
        tag="sessions",
        description="Copies its first turns to a new session.",
        body=ForkSession,
        answers={201: Answer(description="The new session.", schema=SessionAnswer)},
    ),
)
