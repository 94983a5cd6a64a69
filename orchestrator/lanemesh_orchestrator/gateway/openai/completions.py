"""`POST /v1/chat/completions`: a run of a deployed pipeline, which is cancelled when the client disconnects."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.gateway import conversation_of
from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.model_api.models import models_of
from lanemesh_orchestrator.gateway.model_api.streams import OwnedTurn, TurnStream
from lanemesh_orchestrator.gateway.model_api.validation import read_body_as
from lanemesh_orchestrator.gateway.off_loop import for_body
from lanemesh_orchestrator.gateway.openai.chat_chunks import ChatChunks, completion
from lanemesh_orchestrator.gateway.openai.chat_request import ChatRequest
from lanemesh_orchestrator.gateway.openai.errors import endpoint
from lanemesh_orchestrator.gateway.sse import EventStream


@endpoint
async def create(request: Request) -> Response:
    """Answers the last turn of a conversation, as a whole or as a stream of chunks."""
    body = await read_body_as(request, ChatRequest)
    model = await models_of(request).find(body.model)
    given = await for_body(request, lambda: body.conversation().input_of(model))
    turn = OwnedTurn(request, model, given, model.settings(body.sampling()), conversation_of(request))
    await turn.open()
    if not body.stream:
        return Json(completion(await turn.whole(), body.model))
    with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    chunks = ChatChunks(body.model, include_usage=with_usage)
    return EventStream(_chunks(turn.events, chunks), close=turn.close)


async def _chunks(events: TurnStream, chunks: ChatChunks) -> AsyncGenerator[bytes, None]:
    async for event in events:
        yield chunks.chunk(event)
