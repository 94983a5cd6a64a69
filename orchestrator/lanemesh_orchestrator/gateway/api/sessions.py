"""Sessions: list, get, fork and delete the conversations of the caller."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from lanemesh_orchestrator.gateway.bodies import read_object
from lanemesh_orchestrator.gateway.gateway import gateway_of, owner_of
from lanemesh_orchestrator.gateway.problems import bad_request
from lanemesh_orchestrator.update_json import session_json, turn_json


def routes() -> list[BaseRoute]:
    """The endpoints."""
    return [
        Route("/v1/sessions", list_sessions, methods=["GET"]),
        Route("/v1/sessions/{session_id}", get_session, methods=["GET"]),
        Route("/v1/sessions/{session_id}", delete_session, methods=["DELETE"]),
        Route("/v1/sessions/{session_id}/fork", fork_session, methods=["POST"]),
    ]


async def list_sessions(request: Request) -> Response:
    """The sessions of the caller, the last used first: `?deployment=NAME`, `?limit=N`."""
    text = request.query_params.get("limit", "100")
    if not (text.isdecimal() and 1 <= int(text[:9]) <= 1_000):
        raise bad_request(f'"limit" is a number from 1 to 1,000, not {text[:40]!r}')
    found = await gateway_of(request).mesh.sessions(
        request.query_params.get("deployment", ""), owner=owner_of(request), limit=int(text)
    )
    return JSONResponse({"sessions": list(map(session_json, found))})


async def get_session(request: Request) -> Response:
    """A session with its turns."""
    session = gateway_of(request).mesh.session("", request.path_params["session_id"], owner=owner_of(request))
    info = await session.info()
    return JSONResponse({**session_json(info), "turns": list(map(turn_json, await session.turns()))})


async def delete_session(request: Request) -> Response:
    """Deletes a session."""
    await gateway_of(request).mesh.session("", request.path_params["session_id"], owner=owner_of(request)).delete()
    return Response(status_code=204)


async def fork_session(request: Request) -> Response:
    """Copies the first turns of a session to a new one: {"turn": N, "id": ID}, both optional."""
    body = await read_object(request)
    turn, new = body.pop("turn", 0), body.pop("id", "")
    if body:
        raise bad_request(f"unknown field {next(iter(body))[:40]!r}. The fields are turn and id")
    if not isinstance(turn, int) or isinstance(turn, bool) or not 0 <= turn < 2**31:
        raise bad_request('"turn" is the number of a turn')
    if not isinstance(new, str):
        raise bad_request('"id" is a string')
    session = gateway_of(request).mesh.session("", request.path_params["session_id"], owner=owner_of(request))
    fork = await session.fork(turn, id=new)
    return JSONResponse(session_json(await fork.info()), 201, {"Location": f"/v1/sessions/{fork.id}"})
