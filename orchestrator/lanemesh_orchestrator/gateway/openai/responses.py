"""`/v1/responses`: a response is a run, and its id has that of the run. Its events are made from the log of the run's updates, so
that any gateway continues a stream after any event."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from lanemesh.client.detached import DetachedRun
from lanemesh.client.records import RunRecord
from lanemesh.client.specs import Deployed
from lanemesh.faults import Code, Fault, LanemeshError
from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.connected import while_connected
from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.model_api.deployed import DeployedModel
from lanemesh_orchestrator.gateway.model_api.models import models_of
from lanemesh_orchestrator.gateway.model_api.refusals import invalid, unsupported
from lanemesh_orchestrator.gateway.model_api.streams import OwnedTurn, TurnStream
from lanemesh_orchestrator.gateway.model_api.turns import Lost
from lanemesh_orchestrator.gateway.model_api.validation import read_body_as
from lanemesh_orchestrator.gateway.off_loop import for_body
from lanemesh_orchestrator.gateway.openai.errors import endpoint
from lanemesh_orchestrator.gateway.openai.previous import continued
from lanemesh_orchestrator.gateway.openai.response_events import PREFIX, ResponseEvents
from lanemesh_orchestrator.gateway.openai.response_request import ResponseRequest
from lanemesh_orchestrator.gateway.sse import EventStream, event

CANCEL_SECONDS = 30.0
"""How long the end of a cancelled run is awaited."""


@endpoint
async def create(request: Request) -> Response:
    """Answers an input: as a whole, as a stream of events, or in the background."""
    body = await read_body_as(request, ResponseRequest)
    model = await models_of(request).find(body.model)
    settings = model.settings(body.sampling())
    body.check_supported()
    previous = await continued(request, body, model)
    given = await for_body(request, lambda: body.conversation_of(previous.calls).input_of(model))
    if body.background:
        run = await gateway_of(request).mesh.start(
            Deployed(model.name),
            input=given,
            settings=settings or None,
            session=previous.session or "",
            source=model.source,
        )
        return await _in_background(request, run, model, stream=bool(body.stream))
    turn = OwnedTurn(request, model, given, settings, previous.session)
    await turn.open()
    events = ResponseEvents(turn.run_id, model.name, background=False)
    if body.stream:
        return EventStream(_chunks(turn.events, events, -1), close=turn.close)
    try:
        await while_connected(request, read_into(turn.events, events))
    finally:
        await turn.close()
    return Json(events.response)


@endpoint
async def retrieve(request: Request) -> Response:
    """A response as it is now, or the events of its stream after one of them."""
    record, model = await _found(request)
    query = request.query_params
    if query.get("stream", "false") not in ("true", "false"):
        raise invalid("stream", "true or false")
    text = query.get("starting_after", "")
    if text and not (text.isdecimal() and len(text) < 19):
        raise invalid("starting_after", f"the sequence_number of an event, not {text[:40]!r}")
    if query.get("stream") == "true":
        return _stream(request, record, model, int(text) if text else -1)
    if text:
        raise unsupported("starting_after", '"starting_after" is only for streams. Remove it, or set "stream"')
    return Json(await _response_until(request, record, model))


@endpoint
async def cancel(request: Request) -> Response:
    """Cancels a background response, and returns it."""
    record, model = await _found(request)
    if not record.detached:
        message = "only background responses can be cancelled. Close the connection of this one"
        raise unsupported("response_id", message)
    run = gateway_of(request).mesh.attach(record.run_id)
    await run.cancel("cancelled by a client")
    events = ResponseEvents(record.run_id, model.name, background=True)
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            await read_into(TurnStream(run, model), events)
    except TimeoutError:
        message = f"the run {record.run_id} has not ended {CANCEL_SECONDS:g} s after its cancellation"
        raise LanemeshError(Fault(code=Code.DEADLINE_EXCEEDED, reason="not-cancelled", message=message)) from None
    return Json(events.response)


async def _in_background(request: Request, run: DetachedRun, model: DeployedModel, *, stream: bool) -> Response:
    if stream:
        return _stream(request, await gateway_of(request).mesh.record(run.id), model, -1)
    events = ResponseEvents(run.id, model.name, background=True)
    await read_into(TurnStream(run, model, until=1), events)
    return Json({**events.response, "status": "queued"})


async def _found(request: Request) -> tuple[RunRecord, DeployedModel]:
    """The run of a response, and its model. Raises LanemeshError if there is none ("unknown-response")."""
    response_id = request.path_params["response_id"]
    run_id = response_id.removeprefix(PREFIX)
    record: RunRecord | None = None
    if run_id != response_id:
        try:
            record = await gateway_of(request).mesh.record(run_id)
        except LanemeshError as error:
            if error.fault.code is not Code.NOT_FOUND:
                raise
    if record is None or not record.deployment:
        message = f'there is no response "{response_id[:80]}", or no longer'
        raise LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-response", message=message))
    return record, await models_of(request).of_run(record)


def _stream(request: Request, record: RunRecord, model: DeployedModel, after: int) -> Response:
    turn = TurnStream(gateway_of(request).mesh.attach(record.run_id), model)
    events = ResponseEvents(record.run_id, model.name, background=record.detached)
    return EventStream(_chunks(turn, events, after), close=turn.close)


async def _response_until(request: Request, record: RunRecord, model: DeployedModel) -> dict[str, Any]:
    """The response as it was at a record of its run."""
    events = ResponseEvents(record.run_id, model.name, background=record.detached)
    if record.last_sequence:
        turn = TurnStream(gateway_of(request).mesh.attach(record.run_id), model, until=record.last_sequence)
        await while_connected(request, read_into(turn, events))
    return events.response


async def read_into(turn: TurnStream, events: ResponseEvents) -> None:
    """Reads a turn to its end, and closes it. Raises LanemeshError if its updates cannot be read."""
    try:
        async for one in turn:
            if isinstance(one, Lost):
                raise LanemeshError(one.fault)
            deque(events.events(one), maxlen=0)
    finally:
        await turn.close()


async def _chunks(turn: TurnStream, events: ResponseEvents, after: int) -> AsyncGenerator[bytes, None]:
    async for turn_event in turn:
        made = [event(one, name=one["type"]) for one in _after(events.events(turn_event), after)]
        if made:
            yield b"".join(made)
        if events.has_ended:
            return


def _after(events: Iterable[dict[str, Any]], after: int) -> Iterable[dict[str, Any]]:
    return (one for one in events if one["sequence_number"] > after)
