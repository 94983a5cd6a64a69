"""The document of the API has every route, and is valid."""

from __future__ import annotations

import re

import jsonschema
from lanemesh_orchestrator.gateway import agui, api, webhooks
from lanemesh_orchestrator.gateway.api.openapi import openapi_document, path_of
from lanemesh_orchestrator.gateway.api.pages import render_page
from lanemesh_orchestrator.gateway.app import DOCUMENTED
from starlette.routing import Route

DOCUMENT = openapi_document(DOCUMENTED)


def test_every_route_is_in_the_document_and_every_path_is_a_route() -> None:
    routes = {
        (re.sub(":path}", "}", route.path), method)
        for part in (api, agui, webhooks)
        for route in part.routes()
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    listed = {(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item}
    assert routes == listed


def test_operations_have_ids_of_their_own_and_references_lead_somewhere() -> None:
    operations = [operation for item in DOCUMENT["paths"].values() for operation in item.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"] for operation in operations)
    wanted = set(re.findall(r"'#/components/schemas/(\w+)'", str(DOCUMENT)))
    assert wanted <= DOCUMENT["components"]["schemas"].keys()
    assert len(wanted) > 20


def test_schemas_are_valid() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_parameters_of_paths_are_described() -> None:
    for endpoint in DOCUMENTED:
        operation = DOCUMENT["paths"][path_of(endpoint)][endpoint.method.lower()]
        named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path_of(endpoint)))


def test_the_page_needs_nothing_from_elsewhere_and_no_script() -> None:
    page = render_page(DOCUMENTED, DOCUMENT)
    assert "<script" not in page
    assert " style=" not in page
    assert re.findall(r"(?:src|href)='([^']+)'", page)[:1] == ["/v1/docs.css"]
    assert not re.findall(r"(?:src|href)='https?:", page)
    for endpoint in DOCUMENTED:
        assert path_of(endpoint) in page
