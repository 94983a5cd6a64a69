"""`POST /v1/agui/{deployment}`: a run of a deployed pipeline, or the next part of one that waited for an approval."""

from __future__ import annotations

from typing import Any

from ag_ui.core import RunAgentInput
from lanemesh.client.specs import Deployed
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.values import Question
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.first_errors import FirstErrors
from lanemesh_orchestrator.gateway.agui.conversation import conversation_of
from lanemesh_orchestrator.gateway.agui.events import AgentEvents
from lanemesh_orchestrator.gateway.agui.interrupts import Decision, decide, decisions_of
from lanemesh_orchestrator.gateway.agui.stream import AgentStream
from lanemesh_orchestrator.gateway.bodies import read_object
from lanemesh_orchestrator.gateway.gateway import conversation_of as kept_session
from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.gateway.invalid import invalid, invalid_fields
from lanemesh_orchestrator.gateway.model_api.models import models_of
from lanemesh_orchestrator.gateway.off_loop import for_body
from lanemesh_orchestrator.gateway.sse import EventStream
from lanemesh_orchestrator.reasons import Reason

MAX_PARTS = 10_000
"""Most parts, and most calls of tools, of a message. An error of each may be collected, because `FirstErrors` does not reach the
library's models of messages."""


class AgentInput(RunAgentInput, FirstErrors):
    """The body of a request."""


async def run_agent(request: Request) -> Response:
    """Runs an agent. The response is the stream of its events.

    Raises:
        LanemeshError: the request is invalid, there is no such deployment, or its run cannot be started or continued.
    """
    given = await _read_input(request)
    stream = await (_continued(request, given) if given.resume else _started(request, given))
    return EventStream(stream.chunks(), headers={"location": f"/v1/runs/{stream.run_id}"}, close=stream.close)


async def _read_input(request: Request) -> RunAgentInput:
    body = await read_object(request)
    _check_parts(body.get("messages"))
    try:
        return await for_body(request, AgentInput.model_validate, body)
    except ValidationError as error:
        raise invalid_fields(error, validated=body) from None
    except RecursionError:
        raise invalid("", "it is nested too deeply") from None


def _check_parts(messages: Any) -> None:
    """Raises LanemeshError if a message has too many parts or calls of tools."""
    for place, message in enumerate(messages if isinstance(messages, list) else ()):
        for field in ("content", "toolCalls", "tool_calls") if isinstance(message, dict) else ():
            if isinstance(message.get(field), list) and len(message[field]) > MAX_PARTS:
                raise invalid(f"/messages/{place}/{field}", f"it must have at most {MAX_PARTS:,} entries")


async def _started(request: Request, given: RunAgentInput) -> AgentStream:
    model, session = await models_of(request).find(request.path_params["deployment"]), _session(given)
    only_text = model.takes == "text"
    only_last = bool(session) or only_text  # the session has the earlier turns; a text has none

    def asked() -> Question | str:
        return conversation_of(given, only_last=only_last, instructed=not only_text).input_of(model)

    run = await gateway_of(request).mesh.start(
        Deployed(model.name),
        source=model.source,
        input=await for_body(request, asked),
        session=(kept_session(request, session) if session else None) or given.thread_id,  # a thread shares its memory
    )
    return AgentStream(run, AgentEvents(given, run.id))


async def _continued(request: Request, given: RunAgentInput) -> AgentStream:
    decisions = decisions_of(given.resume or ())
    first, mesh = decisions[0].of, gateway_of(request).mesh
    record = await mesh.record(first.run_id)
    if record.deployment != request.path_params["deployment"]:
        raise invalid("/resume/0/interruptId", "this is the interrupt of another agent. Send it to that one")
    if not 0 < first.after <= record.last_sequence:
        raise invalid("/resume/0/interruptId", "this is not the id of an interrupt. Send it as RUN_FINISHED has it")
    waiting = {(one.component, one.call_id) for one in record.approvals}
    _check_waiting(decisions, waiting)
    await decide(mesh, decisions)
    waiting -= {(one.of.component, one.of.call_id) for one in decisions}
    events = AgentEvents(given, first.run_id)
    return AgentStream(mesh.attach(first.run_id), events, after=first.after, waiting=waiting)


def _check_waiting(decisions: list[Decision], waiting: set[tuple[str, str]]) -> None:
    """Raises LanemeshError before the first decision is sent if one of them is too late."""
    for place, one in enumerate(decisions):
        if (one.of.component, one.of.call_id) not in waiting:
            message = (
                f'/resume/{place}: {one.of.component} of run {one.of.run_id} does not wait for "{one.of.call_id}": it was decided, '
                "its deadline has passed, or the run has ended. No interrupt was answered"
            )
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason=Reason.APPROVAL_DECIDED, message=message))


def _session(given: RunAgentInput) -> str:
    """The kept session of a request: `forwardedProps.session`."""
    props: Any = given.forwarded_props
    session = props.get("session", "") if isinstance(props, dict) else ""
    if not isinstance(session, str):
        raise invalid("/forwardedProps/session", "the id of a session is a string", Reason.WRONG_TYPE)
    return session
