"""The sessions of responses: a response continues the session of its previous one, which has the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lanemesh.client.sessions import new_session_id
from lanemesh.client.specs import Conversation
from lanemesh.client.updates import RunState
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.values import ToolCall
from starlette.requests import Request

from lanemesh_orchestrator.gateway.gateway import gateway_of, owner_of
from lanemesh_orchestrator.gateway.model_api.deployed import DeployedModel
from lanemesh_orchestrator.gateway.model_api.refusals import unsupported
from lanemesh_orchestrator.gateway.openai.response_events import PREFIX
from lanemesh_orchestrator.gateway.openai.response_request import ResponseRequest

HISTORY_TURNS = 1_000
"""Most earlier responses of a conversation."""
HISTORY_BYTES = 1024 * 1024
"""Most bytes of a conversation; the oldest responses are left out."""
PARAM = "previous_response_id"


@dataclass(frozen=True, slots=True)
class Continued:
    """The session of a response."""

    session: Conversation | None
    """The session; None: the response is not stored."""
    calls: Sequence[ToolCall] = ()
    """The calls of the previous response, which the input answers."""


async def continued(request: Request, body: ResponseRequest, model: DeployedModel) -> Continued:
    """The session of a response: that of the previous one, a fork of it if that has another successor, or a new one.

    Raises:
        LanemeshError: the previous response is unknown ("unknown-response"), not completed ("response-not-completed"), or of
            another model ("other-pipeline").
    """
    if body.previous_response_id is None:
        return Continued(None if body.store is False else _conversation(request, new_session_id()))
    if body.store is False:
        raise unsupported("store", '"store" is true where "previous_response_id" is given. Remove one of them')
    mesh, owner = gateway_of(request).mesh, owner_of(request)
    run_id = body.previous_response_id.removeprefix(PREFIX)
    try:
        info = await mesh.session_of_run(run_id, owner=owner)
    except LanemeshError as error:
        if error.fault.code is not Code.NOT_FOUND:
            raise
        message = f'there is no stored response "{body.previous_response_id[:80]}", or no longer. Send the conversation itself'
        raise _refused("unknown-response", message) from None
    if info.deployment != model.name:
        message = f'the previous response is of the model "{info.deployment}". Use that model, or send the conversation itself'
        raise _refused("other-pipeline", message)
    session = mesh.session(f"@{model.name}", info.id, owner=owner)
    turn = next(turn for turn in await session.turns() if turn.run_id == run_id)
    if turn.state is not RunState.COMPLETED:
        raise _refused(
            "response-not-completed", f"the previous response is {turn.state}. Only completed ones can be continued"
        )
    if turn.number != info.last_turn:
        session = await session.fork(turn.number)
    return Continued(_conversation(request, session.id), turn.answer.tool_calls)


def _conversation(request: Request, session_id: str) -> Conversation:
    return Conversation(
        id=session_id,
        owner=owner_of(request),
        history_turns=HISTORY_TURNS,
        history_bytes=HISTORY_BYTES,
        append_history=True,
    )


def _refused(reason: str, message: str) -> LanemeshError:
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason=reason, message=message, details={"param": PARAM}))
