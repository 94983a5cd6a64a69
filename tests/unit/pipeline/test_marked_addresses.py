"""Every setting of a node type that holds an address is marked as one, so that the operator's variables stay away from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from lanemesh.node.manifest import manifest_of
from lanemesh.server.file_roots import alternatives
from lanemesh.server.services import all_services, service_names
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator.pipeline import PipelineInvalid, validate
from lanemesh_orchestrator.pipeline.addresses import is_address
from lanemesh_orchestrator.pipeline.variables import client_variables

from unit.pipeline.documents import component, write

ADDRESSES = {
    *("cache.document", "sub_pipeline.document", "tool_pipeline.document"),
    *("embedding_openai.base_url", "rerank_api.base_url"),
    *("http_request.headers", "tool_http.headers"),
    *("llm_anthropic.base_url", "llm_gemini.base_url", "llm_openai.base_url"),
    *("memory_store.url", "table_writer.url"),
    *("pgvector.url", "qdrant.host", "qdrant.port", "qdrant.url"),
    *("search_exa.base_url", "tool_search.base_url", "web_search.base_url"),
    *("tool_grpc.address", "tool_mcp.url"),
}
"""The settings that are marked. Headers are by host, and documents have settings of their own."""
OTHERS = {
    *("http_request.hosts", "tool_http.hosts", "web_read.hosts"),  # what may be requested; keys are in `headers`
    "http_request.url",  # its key is in `headers`
    *("search_exa.include_domains", "tool_search.include_domains", "web_search.include_domains"),  # of the results
    *("search_exa.exclude_domains", "tool_search.exclude_domains", "web_search.exclude_domains"),
    "tool_grpc.server_name",  # the name in the certificate of `address`
    *("embedding_transformer.device", "rerank.device"),  # "the best one of the host"
    *("llm_anthropic.extra", "llm_gemini.extra", "llm_openai.extra"),  # fields of a request to `base_url`
    *("llm_anthropic.model", "llm_gemini.model", "llm_openai.model"),  # "the model at the server"
    *("embedding_openai.model", "rerank_api.model"),
    "tool_shell.variables",  # of commands, and none is a secret
    "tool_python.secrets",  # for a file or module that the node server allows
    "sub_pipeline.targets",  # of the pipeline
    "anonymize.entities",  # such as "EMAIL_ADDRESS"
    "tool_grpc.component",  # of the server at `address`
}
"""Those that speak of addresses, hosts or servers, and hold none that a node connects to."""

_SPEAKS = re.compile(r"ur[il]\b|host|address|endpoint|server|proxy|domain|site\b|socket|dsn\b|://", re.IGNORECASE)
_NAMED = re.compile(r"(^|_)(ur[il]|host|address|endpoint|server|proxy|domain|port|peer|target)s?$")
_OTHER_FORMATS = {"path", "path-or-name", "python-module", "command-line", "environment", "password"}
"""What a setting with one of these holds is checked in another way, or no address."""


def installed() -> list[node_pb2.Manifest]:
    return [manifest_of(node, service.name) for service in all_services(service_names()) for node in service.nodes]


def settings(rule: Any, schema: Mapping[str, Any], path: str, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """The settings of a schema and of the objects in it, each with its rules."""
    for part in alternatives(rule, schema):
        if id(part) in above:
            continue
        for key, inner in (part.get("properties") or {}).items():
            yield f"{path}.{key}", list(alternatives(inner, schema))
            yield from settings(inner, schema, f"{path}.{key}", (*above, id(part)))
        for key in ("items", "additionalProperties"):
            yield from settings(part.get(key), schema, path, (*above, id(part)))


def may_be_an_address(path: str, rules: list[Mapping[str, Any]]) -> bool:
    name = path.rpartition(".")[2]
    if _NAMED.search(name):
        return True
    if {rule.get("format") for rule in rules} & _OTHER_FORMATS or not {rule.get("type") for rule in rules} & {
        *("string", "array", "object")
    }:
        return False
    choices = [rule for rule in rules if rule.get("type") == "string"]
    if choices and all("enum" in rule or "const" in rule for rule in choices):
        return False
    return any(_SPEAKS.search(f"{name} {rule.get('description', '')}") for rule in rules)


def test_every_setting_that_holds_an_address_is_marked() -> None:
    marked, others = set(), set()
    for manifest in installed():
        schema = json.loads(manifest.config_schema_json)
        for path, rules in settings(schema, schema, manifest.provider):
            if is_address(rules):
                marked.add(path)
            elif may_be_an_address(path, rules):
                others.add(path)
    assert marked == ADDRESSES
    assert others == OTHERS, "mark a setting that a node connects to as remote-url or remote-address; list others here"


TYPES = {manifest.provider: manifest for manifest in installed()}
KEYS = {"KEY": "key-of-the-operator", "DATABASE": "postgresql://u:p@db.internal/d", "HOST": "qdrant.internal"}


@pytest.mark.parametrize(
    ("provider", "config", "expected"),
    [
        ("memory_store", {"url": "postgresql://u:${KEY}@elsewhere.example/d"}, "url"),
        ("memory_store", {"url": "${DATABASE}"}, None),
        ("pgvector", {"url": "postgresql://u:${KEY}@elsewhere.example/d"}, "url"),
        ("pgvector", {"url": "${DATABASE}"}, None),
        ("table_writer", {"url": "postgresql://u:${KEY}@elsewhere.example/d"}, "url"),
        ("qdrant", {"host": "elsewhere.example", "api_key": "${KEY}"}, "host"),
        ("qdrant", {"host": "${HOST}", "api_key": "${KEY}"}, None),
        ("qdrant", {"host": "${HOST}", "port": 9_999, "api_key": "${KEY}"}, "port"),
        ("qdrant", {"profile": "local", "api_key": "${KEY}"}, None),
        ("qdrant", {"profile": "local", "local": {"host": "elsewhere.example"}, "api_key": "${KEY}"}, "local/host"),
        ("qdrant", {"profile": "local", "host": "elsewhere.example", "api_key": "${KEY}"}, "host"),
        ("rerank_api", {"profile": "jina", "api_key": "${KEY}"}, None),
        ("rerank_api", {"profile": "jina", "base_url": "https://elsewhere.example", "api_key": "${KEY}"}, "base_url"),
    ],
)
def test_a_client_sends_the_operators_key_to_no_address_of_its_own(
    provider: str, config: dict[str, Any], expected: str | None
) -> None:
    text = write(component("one", provider, config=config))
    faults: list[str] = []
    try:
        validate(text, TYPES, environment=client_variables(KEYS, {}))
    except PipelineInvalid as error:
        faults = [fault.pointer for fault in error.faults if fault.reason == "operator-variable"]
    assert faults == ([f"/components/0/config/{expected}"] if expected else [])


def test_a_setting_replaces_the_address_of_a_profile() -> None:
    text = write(component("one", "qdrant", config={"profile": "local", "api_key": "${KEY}"}))
    chosen = {"one.host": "elsewhere.example"}
    with pytest.raises(PipelineInvalid) as raised:
        validate(text, TYPES, environment=client_variables(KEYS, {}), settings=chosen)
    assert "operator-variable" in {fault.reason for fault in raised.value.faults}
