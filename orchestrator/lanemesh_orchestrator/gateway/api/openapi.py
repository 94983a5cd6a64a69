"""The OpenAPI 3.1 document of the HTTP API, made from its endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from lanemesh_orchestrator.gateway.api.endpoint import Answer, Endpoint
from lanemesh_orchestrator.gateway.api.responses import Problem
from lanemesh_orchestrator.gateway.problems import MEDIA_TYPE

REFERENCE = "#/components/schemas/{model}"
DESCRIPTION = (
    "Runs pipelines of a Lanemesh mesh over HTTP. Errors are problem details (RFC 9457) with the reasons of docs/reasons.md. "
    "docs/gateway.md is the guide."
)


def openapi_document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The document of some endpoints."""
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(path_of(endpoint), {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lanemesh", "version": version("lanemesh"), "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": _schemas(endpoints),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in endpoints)],
    }


def path_of(endpoint: Endpoint) -> str:
    """The path of an endpoint as OpenAPI writes it."""
    return endpoint.path.replace(":path}", "}")


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.handler.__name__ if ":path" not in endpoint.path else _id_of(endpoint),
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if parameters := list(_parameters(endpoint)):
        operation["parameters"] = parameters
    if endpoint.body is not None:
        content = {"application/json": {"schema": {"$ref": REFERENCE.format(model=endpoint.body.__name__)}}}
        operation["requestBody"] = {"required": True, "content": content}
    elif endpoint.media_types:
        operation["requestBody"] = {"content": {one: {"schema": {}} for one in endpoint.media_types}}
    responses = {str(status): _response(answer) for status, answer in endpoint.answers.items()}
    problem = {"schema": {"$ref": REFERENCE.format(model="Problem")}}
    responses["default"] = {"description": "An error.", "content": {MEDIA_TYPE: problem}}
    return operation | {"responses": responses}


def _id_of(endpoint: Endpoint) -> str:
    return f"{endpoint.handler.__name__}_{'run' if 'run_id' in endpoint.path else 'mesh'}_channel"


def _parameters(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path_of(endpoint)):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    if endpoint.query is not None:
        schema = endpoint.query.model_json_schema()
        for name, field in schema.get("properties", {}).items():
            description = field.pop("description", "")
            field.pop("title", None)
            yield {"name": name, "in": "query", "description": description, "schema": field}
    for name, description in endpoint.headers.items():
        yield {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _response(answer: Answer) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.description}
    if answer.schema is None:
        return response
    if isinstance(answer.schema, type) and issubclass(answer.schema, BaseModel):
        schema: dict[str, Any] = {"$ref": REFERENCE.format(model=answer.schema.__name__)}
    else:
        schema = TypeAdapter(answer.schema).json_schema()
    return response | {"content": {answer.media_type: {"schema": schema}}}


def _schemas(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    bodies = [endpoint.body for endpoint in endpoints if endpoint.body is not None]
    answers = [answer.schema for endpoint in endpoints for answer in endpoint.answers.values()]
    models = [one for one in (*bodies, *answers, Problem) if isinstance(one, type) and issubclass(one, BaseModel)]
    wanted = [(model, "validation") for model in dict.fromkeys(models)]
    _, schema = models_json_schema(wanted, ref_template=REFERENCE)  # type: ignore[arg-type]
    found: dict[str, Any] = schema["$defs"]
    return found
