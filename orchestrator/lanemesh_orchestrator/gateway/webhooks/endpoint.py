"""`POST /hooks/{deployment}`: the run of one request."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from lanemesh.client.detached import DetachedRun
from lanemesh.client.results import RunFailed
from lanemesh.client.run_reader import RunReader
from lanemesh.client.runs import Run
from lanemesh.client.specs import Deployed
from lanemesh.faults import LanemeshError
from lanemesh.v1 import run_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from lanemesh_orchestrator.gateway.bodies import read_body
from lanemesh_orchestrator.gateway.connected import while_connected
from lanemesh_orchestrator.gateway.gateway import conversation_of, gateway_of
from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.run_events import run_chunks
from lanemesh_orchestrator.gateway.sse import MEDIA_TYPE, EventStream
from lanemesh_orchestrator.gateway.webhooks.answers import RUN_HEADER, answer, failure
from lanemesh_orchestrator.gateway.webhooks.media_types import content_type
from lanemesh_orchestrator.gateway.webhooks.outputs import AnswerTooLarge, Delivered, deliver
from lanemesh_orchestrator.gateway.webhooks.pipeline import HookPipeline, hook_pipeline
from lanemesh_orchestrator.gateway.webhooks.signatures import check_signature
from lanemesh_orchestrator.gateway.webhooks.uploads import WHOLE_BYTES, Inputs, Upload
from lanemesh_orchestrator.http_server.bodies import body_pieces, too_large

KEY_HEADER = "idempotency-key"
"""The header with the key of a run; a body with it is read whole, at most 8 MiB."""


async def run_hook(request: Request) -> Response:
    """Runs a deployed pipeline with the body of a request. The response is what its targets deliver, the events of the run, or with
    `Prefer: respond-async` its id."""
    options = gateway_of(request).options
    name, key = request.path_params["deployment"], request.headers.get(KEY_HEADER, "")
    secret = options.webhook_secrets.get(name)
    body: bytes | None = None
    if secret is not None:
        body = await read_body(request)
        check_signature(request.headers, body, secret, time.time())
    pipeline = await hook_pipeline(gateway_of(request).mesh, name)
    type_ = content_type(request.headers.get("content-type", ""))
    pipeline.check_body(type_)
    if body is None and key:
        body = await read_body(request, min(options.max_body, WHOLE_BYTES))
    if body is not None and key and len(body) > WHOLE_BYTES:
        raise too_large(WHOLE_BYTES)
    declared = request.headers.get("content-length", "")
    upload = Upload(
        pipeline,
        type_,
        body_pieces(request, options.max_upload, options.body_seconds) if body is None else _once(body),
        size=int(declared) if declared.isdecimal() and len(declared) < 20 else 0,
        max_value=options.max_body,
        seconds=10 * options.body_seconds,
    )
    if _prefers_async(request):
        return await _accepted(request, pipeline, upload, key)
    if key:
        return await _of_key(request, pipeline, upload, key)
    return await _owned(request, pipeline, upload)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


def _prefers_async(request: Request) -> bool:
    given = ",".join(request.headers.getlist("prefer"))
    return "respond-async" in {one.partition(";")[0].strip().lower() for one in given.split(",")}


def _options(request: Request, pipeline: HookPipeline) -> dict[str, Any]:
    source = {"source": pipeline.source}
    if request.path_params["deployment"] in gateway_of(request).options.webhook_secrets:
        return source  # the signature does not cover the session, and the sender has no token that owns it
    return {"session": conversation_of(request) or "", **source}


async def _owned(request: Request, pipeline: HookPipeline, upload: Upload) -> Response:
    """The run of this request: it is cancelled if the client disconnects."""
    mesh = gateway_of(request).mesh
    inputs = upload.inputs()
    first = await anext(inputs, None)
    run = mesh.run(Deployed(pipeline.name), inputs=_from(first, inputs), **_options(request, pipeline))

    async def close() -> None:
        await run.close()
        await inputs.aclose()

    if MEDIA_TYPE in request.headers.get("accept", ""):
        try:
            await run.start()
        except BaseException:
            await close()
            raise
        return UploadEvents(run, upload, close=close)
    try:
        await run.start()
        delivered = await _while_uploading(request, run, upload)
    except (RunFailed, AnswerTooLarge) as error:
        if upload.error is not None:
            raise upload.error from None
        return failure(run.id, error)
    finally:
        await close()
    if upload.error is not None:
        raise upload.error
    return _answer(request, pipeline, run, delivered)


async def _while_uploading(request: Request, run: Run, upload: Upload) -> Delivered:
    """What the run delivers. Raises ClientDisconnect if the client is gone after its upload."""
    limit = gateway_of(request).options.max_answer
    return await while_connected(request, deliver(run, limit), body=upload.ended)


async def _from(first: run_pb2.RunInput | None, rest: Inputs) -> AsyncGenerator[run_pb2.RunInput, None]:
    if first is not None:
        yield first
        async for one in rest:
            yield one


async def _of_key(request: Request, pipeline: HookPipeline, upload: Upload, key: str) -> Response:
    """The run of an idempotency key. It continues if the client disconnects, since another request may wait for it."""
    run = await _detached(request, pipeline, upload, key)
    if MEDIA_TYPE in request.headers.get("accept", ""):
        return EventStream(run_chunks(run), headers={"location": f"/v1/runs/{run.id}"})
    try:
        delivered = await while_connected(request, deliver(run, gateway_of(request).options.max_answer))
    except (RunFailed, AnswerTooLarge) as error:
        return failure(run.id, error)
    return _answer(request, pipeline, run, delivered)


async def _accepted(request: Request, pipeline: HookPipeline, upload: Upload, key: str) -> Response:
    """Starts a detached run; answers when the whole body has arrived and was taken."""
    run = await _detached(request, pipeline, upload, key)
    headers = {"Location": f"/v1/runs/{run.id}", "Preference-Applied": "respond-async"}
    return Json({"run_id": run.id}, 202, headers)


async def _detached(request: Request, pipeline: HookPipeline, upload: Upload, key: str) -> DetachedRun:
    mesh = gateway_of(request).mesh
    async with aclosing(upload.inputs()) as inputs:
        if key:
            given = [one async for one in inputs]
            return await mesh.start(
                Deployed(pipeline.name), inputs=given, idempotency_key=key, **_options(request, pipeline)
            )
        first = await anext(inputs, None)
        second = await anext(inputs, None) if first is not None else None
        given = [] if first is None else [first]
        run = await mesh.start(
            Deployed(pipeline.name), inputs=given, open_input=second is not None, **_options(request, pipeline)
        )
        if second is not None:
            await _push_all(run, _from(second, inputs))
        return run


async def _push_all(run: DetachedRun, inputs: AsyncIterator[run_pb2.RunInput]) -> None:
    """Feeds a run until the inputs or the run end. Cancels it if the rest of the body cannot be read."""
    try:
        async for one in inputs:
            await run.push(one)
        await run.end_input()
    except LanemeshError as error:
        if error.fault.reason == "run-ended":
            return
        await run.cancel(f"its upload failed: {error.fault.message}")
        raise
    except BaseException:
        await run.cancel("its upload was cut off")
        raise


def _answer(request: Request, pipeline: HookPipeline, run: RunReader, delivered: Delivered) -> Response:
    response = answer(delivered, pipeline.targets, request.headers.get("accept", ""))
    response.headers[RUN_HEADER] = run.id
    return response


class UploadEvents(EventStream):
    """The events of a run whose body may still arrive. A client that disconnects cancels the run."""

    def __init__(self, run: Run, upload: Upload, **options: Any) -> None:
        """`options` are those of `EventStream`."""
        super().__init__(run_chunks(run), headers={"location": f"/v1/runs/{run.id}"}, **options)
        self._upload = upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events; looks for the end of the connection when the body has arrived."""

        async def after_body() -> Message:
            await self._upload.ended.wait()
            return await receive()

        await super().__call__(scope, after_body, send)
