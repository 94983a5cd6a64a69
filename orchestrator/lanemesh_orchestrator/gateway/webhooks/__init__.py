"""Webhooks: a request with a body of any type runs a deployed pipeline, and is answered with what its targets deliver."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute

from lanemesh_orchestrator.gateway.api.endpoint import Answer, Endpoint, routes_of
from lanemesh_orchestrator.gateway.api.responses import Started
from lanemesh_orchestrator.gateway.webhooks.endpoint import run_hook

ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/hooks/{deployment}",
        handler=run_hook,
        summary="Run a deployed pipeline with a body of any type",
        tag="webhooks",
        description="The type of the body, or of each part of a form, decides what enters the pipeline: JSON is data, text is "
        "text, images, audio and video are media. docs/webhooks.md has the table, and signatures.",
        media_types=(
            "application/json",
            "application/vnd.lanemesh.question+json",
            "text/plain",
            "image/*",
            "audio/*",
            "video/*",
            "multipart/form-data",
        ),
        headers={
            "Accept": "The form of the answer; `text/event-stream`: the events of the run.",
            "Prefer": "`respond-async`: answer with the id of the run.",
            "Idempotency-Key": "A further request with the same key gets the run of the first one.",
            "Lanemesh-Session": "The session that the run is the next turn of.",
        },
        answers={
            200: Answer(
                description="What the targets deliver: JSON, or text or media that `Accept` permits.", schema=Any
            ),
            202: Answer(description="The run was started, with `Prefer: respond-async`.", schema=Started),
            204: Answer(description="The run has completed, and its targets delivered nothing."),
        },
    ),
)
"""The endpoint, for the document of the API."""


def routes() -> list[BaseRoute]:
    """The endpoint."""
    return routes_of(ENDPOINTS)
