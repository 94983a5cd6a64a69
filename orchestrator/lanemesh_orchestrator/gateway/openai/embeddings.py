"""`POST /v1/embeddings`, by a deployed pipeline that takes texts and delivers an embedding of each."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated, Any, Literal

from lanemesh.client.results import RunFailed
from lanemesh.client.specs import Deployed
from lanemesh.faults import Code, Fault
from lanemesh.values import Document, Question
from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.connected import while_connected
from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.model_api.deployed import Embedder
from lanemesh_orchestrator.gateway.model_api.models import models_of
from lanemesh_orchestrator.gateway.model_api.streams import TurnFailed
from lanemesh_orchestrator.gateway.model_api.validation import Strict, only, read_body_as
from lanemesh_orchestrator.gateway.openai.errors import endpoint

MAX_INPUTS = 2_048
"""Most texts of one request."""


def _as_list(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


class EmbeddingRequest(Strict):
    """The body of a request."""

    model: str
    input: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        BeforeValidator(_as_list),
        Field(min_length=1, max_length=MAX_INPUTS),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


@endpoint
async def create(request: Request) -> Response:
    """The embedding of each text."""
    body = await read_body_as(request, EmbeddingRequest)
    only("dimensions", body.dimensions, [], "is a setting of the pipeline")
    embedder = await models_of(request).find_embedder(body.model)
    found = await while_connected(request, _embeddings(request, embedder, body.input))
    encode = _base64 if body.encoding_format == "base64" else list
    data = [{"object": "embedding", "index": place, "embedding": encode(one)} for place, one in enumerate(found)]
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    return Json({"object": "list", "data": data, "model": embedder.name, "usage": usage})


async def _embeddings(request: Request, embedder: Embedder, texts: Sequence[str]) -> list[Sequence[float]]:
    """The embeddings of texts, in order.

    Raises:
        TurnFailed: the run failed, or did not deliver one embedding for each text ("bad-embeddings").
    """
    found: list[Sequence[float]] = []
    run = gateway_of(request).mesh.run(Deployed(embedder.name), inputs=texts, source=embedder.source)
    try:
        async with run, aclosing(run.outputs(embedder.target)) as outputs:
            async for output in outputs:
                embedding = _embedding_of(output.value) if output.lane == embedder.lane else None
                if embedding is not None:
                    found.append(embedding)
                if len(found) > len(texts):
                    break
    except RunFailed as error:
        raise TurnFailed(error.fault) from None
    if len(found) != len(texts):
        message = f'the pipeline "{embedder.name}" delivered {len(found)} embeddings for {len(texts)} inputs'
        raise TurnFailed(Fault(code=Code.INTERNAL, reason="bad-embeddings", message=message))
    return found


def _embedding_of(value: Any) -> Sequence[float] | None:
    """The embedding in an output; None if there is none."""
    if isinstance(value, Document | Question):
        return value.embedding or None
    numbers = value if isinstance(value, tuple | list) else ()
    is_list = all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
    return [float(one) for one in numbers] if numbers and is_list else None


def _base64(embedding: Sequence[float]) -> str:
    """32-bit floats, least significant byte first."""
    return base64.b64encode(struct.pack(f"<{len(embedding)}f", *embedding)).decode()
