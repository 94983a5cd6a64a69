"""The operator's variables do not go to addresses that a client's document chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator.pipeline import PipelineInvalid, validate
from lanemesh_orchestrator.pipeline.variables import client_variables

from unit.pipeline.documents import component, manifests, schema, write

OWN = "https://api.example.com/v1"
TYPES = {
    **manifests(),
    "hosted": node_pb2.Manifest(
        provider="hosted",
        offers=["tool"],
        config_schema_json=schema(
            key={"type": "string", "format": "password"},
            headers={"type": "object", "additionalProperties": {"type": "string", "writeOnly": True}},
            names={"type": "array", "items": {"type": "string", "maxLength": 3}},
            text={"type": "string"},
            url={"type": "string", "format": "remote-url", "default": OWN},
            other={"anyOf": [{"type": "string", "format": "remote-url"}, {"type": "null"}]},
            database={"type": "string", "format": "password", "x-remote-url": True},
            server={"type": "object", "properties": {"at": {"type": "string", "format": "remote-address"}}},
            peers={"type": "array", "items": {"type": "string", "format": "remote-url"}},
        ),
    ),
    "boss": node_pb2.Manifest(
        provider="boss", invokes=[node_pb2.Invocation(class_type="tool", min=0)], config_schema_json="{}"
    ),
}
ALLOWED = {"KEY": "key-of-the-operator", "URL": "https://models.internal/v1"}


def faults(config: dict[str, Any], environment: Mapping[str, str], settings: dict[str, Any] | None = None) -> list[str]:
    """The reasons and places of the faults of a component with this config."""
    helper = component("hosted_1", "hosted", config=config, control=[{"classType": "tool", "from": "boss_1"}])
    text = write(component("boss_1", "boss"), helper)
    try:
        validate(text, TYPES, environment=environment, settings=settings)
    except PipelineInvalid as error:
        return [f"{fault.reason} {fault.pointer}" for fault in error.faults]
    return []


REFUSED = ["operator-variable /components/1/config/url"]


@pytest.mark.parametrize(
    ("config", "sent", "expected"),
    [
        ({"key": "${KEY}"}, {}, []),
        ({"key": "${KEY}", "url": OWN}, {}, []),
        ({"key": "${KEY}", "url": "${URL}"}, {}, []),
        ({"key": "${KEY}", "url": "https://elsewhere.example/v1"}, {}, REFUSED),
        ({"key": "Bearer ${KEY}", "url": "https://elsewhere.example/v1"}, {}, REFUSED),
        ({"key": "x", "url": "https://elsewhere.example/${KEY}"}, {}, REFUSED),
        ({"key": "${KEY}", "url": "https://elsewhere.example/?${URL}"}, {}, REFUSED),
        ({"key": "${KEY}", "url": "${URL}"}, {"URL": "https://elsewhere.example"}, REFUSED),
        ({"key": "${KEY}", "url": "https://elsewhere.example/v1"}, {"KEY": "my-own-key"}, []),
        ({"key": "x", "url": "https://elsewhere.example/v1"}, {}, []),
        ({"key": "${KEY}", "other": "https://elsewhere.example"}, {}, [REFUSED[0].replace("url", "other")]),
        ({"database": "postgresql://u:${KEY}@elsewhere.example/d"}, {}, [REFUSED[0].replace("url", "database")]),
        ({"database": "${URL}"}, {}, []),
        ({"key": "${KEY}", "server": {"at": "elsewhere.example:1"}}, {}, [REFUSED[0].replace("url", "server/at")]),
        ({"key": "${KEY}", "server": {"at": "${URL}"}}, {}, []),
        (
            {"key": "${KEY}", "peers": ["${URL}", "https://elsewhere.example"]},
            {},
            [REFUSED[0].replace("url", "peers/1")],
        ),
    ],
)
def test_a_client_sends_the_operators_key_only_where_the_operator_chose(
    config: dict[str, Any], sent: dict[str, str], expected: list[str]
) -> None:
    assert faults(config, client_variables(ALLOWED, sent)) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"text": "${KEY}"}, ["text"]),
        ({"text": "${REGION}-${KEY}"}, ["text"]),
        ({"text": "${KEY}-${REGION}"}, ["text"]),
        ({"names": ["a", "${KEY}"]}, ["names/1"]),
        ({"profile": "p", "p": {"text": "${KEY}"}}, ["p/text"]),
        ({"text": "${REGION} $${KEY}", "names": ["${R}"]}, []),
        ({"key": "${KEY}${REGION}", "headers": {"a": "Bearer ${KEY}"}}, []),
    ],
)
def test_a_client_uses_the_operators_secrets_only_in_secret_settings(
    config: dict[str, Any], expected: list[str]
) -> None:
    allowed = {**ALLOWED, "REGION": "north", "R": "n"}
    refused = [f"variable-not-secret /components/1/config/{place}" for place in expected]
    assert faults(config, client_variables(allowed, {}, ["REGION", "R"])) == refused
    assert faults(config, client_variables(allowed, {"KEY": "my"}, ["REGION", "R"])) == []


def test_values_of_plain_variables_are_shown() -> None:
    environment = client_variables({"REGION": "north-of-here", "KEY": "key-of-the-operator"}, {}, ["REGION"])
    config = {"text": "${REGION}", "key": "${KEY}"}
    helper = component("hosted_1", "hosted", config=config, control=[{"classType": "tool", "from": "boss_1"}])
    graph = validate(write(component("boss_1", "boss"), helper), TYPES, environment=environment)
    assert graph.components["hosted_1"].secret_pointers == ("/key",)


def test_a_setting_is_an_address_of_the_client_too() -> None:
    config = {"key": "${KEY}", "url": "${URL}"}
    environment = client_variables(ALLOWED, {})
    assert faults(config, environment, {"hosted_1.url": "https://elsewhere.example"})[0].startswith("operator-variable")
    assert faults(config, environment, {"hosted_1.key": "mine", "hosted_1.url": "https://elsewhere.example"}) == []


def test_a_document_of_ones_own_is_free() -> None:
    assert faults({"key": "${KEY}", "url": "https://elsewhere.example/v1"}, ALLOWED) == []
