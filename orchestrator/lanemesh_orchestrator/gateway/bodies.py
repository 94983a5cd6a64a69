"""Reads the bodies and queries of requests: bounded in size, time and depth, and checked against a model."""

from __future__ import annotations

from typing import Any, TypeVar, get_origin

from lanemesh.json_text import read_json as parse_json
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from lanemesh_orchestrator.first_errors import FirstErrors
from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.gateway.invalid import invalid_fields
from lanemesh_orchestrator.gateway.off_loop import for_body, note_size, off_loop
from lanemesh_orchestrator.gateway.problems import bad_request
from lanemesh_orchestrator.http_server.bodies import read_whole

Model = TypeVar("Model", bound=BaseModel)


class Body(FirstErrors):
    """The body of a request. Unknown fields and other types are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(FirstErrors):
    """The query of a request. Unknown parameters are rejected; numbers are written in decimal digits."""

    model_config = ConfigDict(extra="forbid")


async def read_body(request: Request, max_bytes: int = 0) -> bytes:
    """The whole body. `max_bytes`: 0: that of the options. Raises as `read_whole`, with the time of the options."""
    options = gateway_of(request).options
    body = await read_whole(request, max_bytes or options.max_body, options.body_seconds)
    note_size(request, len(body))
    return body


async def read_json(request: Request, max_bytes: int = 0) -> Any:
    """The body as a JSON value that lanes can carry. Raises LanemeshError ("not-json"), and as `read_body`."""
    return await parse_body(await read_body(request, max_bytes))


async def read_object(request: Request, max_bytes: int = 0) -> dict[str, Any]:
    """The body as a JSON object; an empty body is an empty object. Raises as `read_json`."""
    body = await read_body(request, max_bytes)
    value = await parse_body(body) if body.strip() else {}
    if not isinstance(value, dict):
        raise bad_request("the body is not a JSON object", reason="wrong-type")
    return value


async def read_model(request: Request, model: type[Model]) -> Model:
    """The body as a model. Raises `InvalidRequest` with an error for each wrong field, and as `read_object`."""
    value = await read_object(request)
    try:
        return await for_body(request, model.model_validate, value)
    except ValidationError as error:
        raise invalid_fields(error) from None


def read_query(request: Request, model: type[Model]) -> Model:
    """The query as a model: a field that is a list has every value of a parameter. Raises `InvalidRequest`."""
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        field = model.model_fields.get(name)
        is_list = field is not None and get_origin(field.annotation) is list
        if is_list:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise bad_request(f'the parameter "{name[:80]}" is given twice', reason="bad-value")
        else:
            given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise invalid_fields(error, "?") from None


async def parse_body(body: bytes) -> Any:
    """A JSON text that has arrived. Raises LanemeshError ("not-json")."""
    try:
        return await off_loop(len(body), _parse, body)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}", reason="not-json") from None


def _parse(body: bytes) -> Any:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start:,} is not UTF-8") from None
    return parse_json(text)


__all__ = [
    "Body",
    "Query",
    "parse_body",
    "read_body",
    "read_json",
    "read_model",
    "read_object",
    "read_query",
]
