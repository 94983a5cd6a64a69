"""The answer of a webhook: what the targets delivered, in a form that the client accepts."""

from __future__ import annotations

from collections.abc import Sequence

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.values import Media
from starlette.responses import Response

from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.problems import problem
from lanemesh_orchestrator.gateway.webhooks.media_types import JSON, PLAIN, is_media_type, preference
from lanemesh_orchestrator.gateway.webhooks.outputs import Delivered, Whole, component_json
from lanemesh_orchestrator.reasons import Reason

MEDIA_HEADERS = {"content-security-policy": "sandbox; default-src 'none'"}
"""Keeps scripts in media, such as those of an SVG image, from running as those of the gateway."""
RUN_HEADER = "lanemesh-run"
"""The header of a response with the id of its run."""


def answer(delivered: Delivered, targets: Sequence[str], accept: str) -> Response:
    """The response for a run that has completed.

    Args:
        delivered: what its targets delivered.
        targets: the targets of its pipeline.
        accept: the header `Accept` of the client; empty: it takes anything.

    Raises:
        LanemeshError: the client accepts no form of it ("not-acceptable").
    """
    if not delivered.targets:
        return Response(status_code=204)
    names = list(dict.fromkeys([*targets, *delivered.targets]))
    if len(names) > 1:
        return _json({name: component_json(delivered.targets.get(name, [])) for name in names}, accept)
    wholes = delivered.targets[names[0]]
    if all(whole.text is not None for whole in wholes):
        wants_json = preference(accept, JSON)
        wants_text = preference(accept, PLAIN)
        if wants_text and wants_text >= wants_json:
            return Response("".join(whole.text or "" for whole in wholes), media_type=PLAIN)
    media = _only_media(wholes)
    if media is not None and preference(accept, media.mime_type) >= max(preference(accept, JSON), 0.001):
        return Response(media.content, media_type=media.mime_type, headers=MEDIA_HEADERS)
    return _json(component_json(wholes), accept)


def _only_media(wholes: Sequence[Whole]) -> Media | None:
    """The media of the only value, if it can be a body."""
    media = wholes[0].media if len(wholes) == 1 else None
    return media if media is not None and not media.uri and is_media_type(media.mime_type) else None


def _json(value: object, accept: str) -> Response:
    if not preference(accept, JSON):
        message = f'the outputs have no form that "{accept[:80]}" accepts. Accept {JSON}, or text/event-stream'
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason=Reason.NOT_ACCEPTABLE, message=message))
    return Json(value)


def failure(run_id: str, error: LanemeshError) -> Response:
    """The response for a run that failed or was cancelled: its first cause, with the component; or for one without an answer."""
    fault = error.fault
    members = {"run_id": run_id} | ({"component": fault.details["component"]} if "component" in fault.details else {})
    return problem(502, fault.reason, fault.message, headers={RUN_HEADER: run_id}, **members)
