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
            key={"type": "string"},
            url={"type": "string", "format": "remote-url", "default": OWN},
            other={"anyOf": [{"type": "string", "format": "remote-url"}, {"type": "null"}]},
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
    ],
)
def test_a_client_sends_the_operators_key_only_where_the_operator_chose(
    config: dict[str, Any], sent: dict[str, str], expected: list[str]
) -> None:
    assert faults(config, client_variables(ALLOWED, sent)) == expected


def test_a_setting_is_an_address_of_the_client_too() -> None:
    config = {"key": "${KEY}", "url": "${URL}"}
    environment = client_variables(ALLOWED, {})
    assert faults(config, environment, {"hosted_1.url": "https://elsewhere.example"})[0].startswith("operator-variable")
    assert faults(config, environment, {"hosted_1.key": "mine", "hosted_1.url": "https://elsewhere.example"}) == []


def test_a_document_of_ones_own_is_free() -> None:
    assert faults({"key": "${KEY}", "url": "https://elsewhere.example/v1"}, ALLOWED) == []
