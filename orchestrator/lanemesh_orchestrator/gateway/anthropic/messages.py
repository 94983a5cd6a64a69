"""`POST /v1/messages`: a run of a deployed pipeline, which is cancelled when the client disconnects."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.anthropic.errors import endpoint
from lanemesh_orchestrator.gateway.anthropic.message_events import MessageEvents, whole_message
from lanemesh_orchestrator.gateway.anthropic.message_request import MessageRequest
from lanemesh_orchestrator.gateway.gateway import conversation_of
from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.model_api.models import models_of
from lanemesh_orchestrator.gateway.model_api.streams import OwnedTurn, TurnStream
from lanemesh_orchestrator.gateway.model_api.validation import read_body_as
from lanemesh_orchestrator.gateway.off_loop import for_body
from lanemesh_orchestrator.gateway.sse import EventStream


@endpoint
async def create(request: Request) -> Response:
    """Answers the last turn of a conversation, as a whole or as a stream of events.

    `max_tokens`, which every request has, applies where the pipeline has exactly one model with this setting.
    """
    body = await read_body_as(request, MessageRequest)
    model = await models_of(request).find(body.model)
    given = await for_body(request, lambda: body.conversation().input_of(model))
    limit = {"max_tokens": body.max_tokens} if model.can_set("max_tokens") else {}
    settings = model.settings({**limit, **body.sampling()})
    turn = OwnedTurn(request, model, given, settings, conversation_of(request))
    await turn.open()
    if not body.stream:
        return Json(whole_message(await turn.whole(), body.model))
    return EventStream(_chunks(turn.events, MessageEvents(body.model)), close=turn.close)


async def _chunks(events: TurnStream, made: MessageEvents) -> AsyncGenerator[bytes, None]:
    async for event in events:
        yield made.chunk(event)
        if made.has_failed:
            return
