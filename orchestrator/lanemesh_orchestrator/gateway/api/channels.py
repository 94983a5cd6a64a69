"""Channels of the mesh and of runs: publish, and subscribe by server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from lanemesh.channels import Subscription
from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.api.bodies import Publish, Subscribe
from lanemesh_orchestrator.gateway.api.endpoint import Answer, Endpoint
from lanemesh_orchestrator.gateway.api.responses import Published
from lanemesh_orchestrator.gateway.bodies import read_model, read_query
from lanemesh_orchestrator.gateway.connected import while_connected
from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.gateway.invalid import invalid
from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.sse import MEDIA_TYPE, EventStream, event


async def publish(request: Request) -> Response:
    """Publishes a message. Waits up to 5 s for subscribers that must not lose messages."""
    body = await read_model(request, Publish)
    run_id, name = _address(request)
    channels = gateway_of(request).mesh.channels(run_id, name=body.publisher or "client")
    count = await while_connected(request, channels.publish(name, body.message))
    return Json({"subscribers": count})


async def subscribe(request: Request) -> Response:
    """The messages of a channel from now on."""
    query = read_query(request, Subscribe)
    run_id, name = _address(request)
    channels = gateway_of(request).mesh.channels(run_id)
    subscription = channels.subscribe(name, overflow=query.overflow, limit=query.limit)
    await subscription.open()
    return EventStream(_messages(subscription), close=subscription.close)


async def _messages(subscription: Subscription) -> AsyncGenerator[bytes, None]:
    dropped = 0
    async with aclosing(subscription.with_publishers()) as messages:
        async for publisher, message in messages:
            chunk = b""
            if subscription.dropped > dropped:
                chunk = event({"count": subscription.dropped - dropped}, name="dropped")
                dropped = subscription.dropped
            yield chunk + event({"publisher": publisher, "message": message})


def _address(request: Request) -> tuple[str, str]:
    """The run and the name of a channel."""
    run_id, name = request.path_params.get("run_id", ""), request.path_params["name"]
    if not run_id and not name.startswith("mesh:"):
        raise invalid(
            "/name", 'channels of the mesh begin with "mesh:"; those of a run are at /v1/runs/ID/channels/NAME'
        )
    return run_id, name


_EVENTS = Answer(
    description='One event per message: `{"publisher", "message"}`. `event: dropped` has the number of messages that this '
    "subscriber missed. The stream ends when the channel is closed.",
    schema=str,
    media_type=MEDIA_TYPE,
)
_PUBLISHED = Answer(description="The number of subscribers that got it.", schema=Published)

ENDPOINTS = tuple(
    endpoint
    for prefix, whose in (("", "the mesh"), ("/runs/{run_id}", "a run"))
    for endpoint in (
        Endpoint(
            method="GET",
            path=f"/v1{prefix}/channels/{{name:path}}/events",
            handler=subscribe,
            summary=f"Subscribe to a channel of {whose}",
            tag="channels",
            query=Subscribe,
            answers={200: _EVENTS},
        ),
        Endpoint(
            method="POST",
            path=f"/v1{prefix}/channels/{{name:path}}",
            handler=publish,
            summary=f"Publish to a channel of {whose}",
            tag="channels",
            body=Publish,
            answers={200: _PUBLISHED},
        ),
    )
)
