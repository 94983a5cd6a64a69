"""The JSON Schema of documents: what it lets pass and what it does not, and the file that is shipped."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from lanemesh.node.manifest import manifest_of
from lanemesh.server.services import all_services, service_names
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator.pipeline.document_schema import document_schema
from pydantic import BaseModel, Field, SecretStr

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "docs" / "pipeline.schema.json"


class Inner(BaseModel):
    level: int = 1


class Settings(BaseModel):
    model_config = {"extra": "forbid"}

    model: str
    kind: str = Field("a", pattern="^[ab]$")
    inner: Inner | None = None
    key: SecretStr = SecretStr("")


def installed() -> list[node_pb2.Manifest]:
    return [manifest_of(node, service.name) for service in all_services(service_names()) for node in service.nodes]


def made(**fields: Any) -> node_pb2.Manifest:
    return node_pb2.Manifest(provider="made", config_schema_json=json.dumps(Settings.model_json_schema()), **fields)


SCHEMA = document_schema([*installed(), made(profiles_json='{"small": {"model": "s"}}', aliases=["built"])])
CHECK = jsonschema_rs.Draft202012Validator(SCHEMA)


def wrong(*components: Any, **fields: Any) -> list[str]:
    """Where a document of these does not keep to the schema."""
    document = {"components": list(components), **fields}
    return sorted(_json_path(error.instance_path) for error in CHECK.iter_errors(document))


def _json_path(steps: Iterable[str | int]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def configured(provider: str = "made", /, **config: Any) -> list[str]:
    return [
        path.removeprefix("$.components[0].config")
        for path in wrong({"id": "m", "provider": provider, "config": config})
    ]


def test_the_shipped_schema_is_what_is_generated() -> None:
    assert json.loads(SHIPPED.read_text()) == document_schema(installed()), "it has changed: run `make schema`"


def test_it_is_a_schema_itself() -> None:
    for schema in (json.loads(SHIPPED.read_text()), document_schema([]), SCHEMA):
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        jsonschema_rs.meta.validate(schema)


@pytest.mark.parametrize(
    "path",
    [*sorted((ROOT / "examples").glob("*.pipe")), *sorted((ROOT / "tests" / "data" / "rocketride").glob("*.pipe"))],
)
def test_documents_keep_to_it(path: Path) -> None:
    errors = list(CHECK.iter_errors(json.loads(path.read_text())))
    assert (errors != []) == (path.stem == "broken")


def test_what_is_wrong_with_a_document_is_found_in_its_place() -> None:
    chat = {"id": "chat", "provider": "chat"}
    assert wrong(chat, **{"$schema": "./pipeline.schema.json"}, viewport={"x": 1}) == []
    assert wrong(chat, version=2) == ["$.version"]
    assert wrong(chat, sources="chat") == ["$"]
    assert wrong() == ["$.components"]
    assert wrong({"id": "a b", "provider": "chat"}) == ["$.components[0].id"]
    assert wrong({"id": "a", "provider": "unheard_of", "config": {"x": 1}}) == []
    assert wrong(chat | {"input": [{"lane": "txt", "from": "a"}]}) == ["$.components[0].input[0].lane"]
    assert wrong(chat | {"config": {"hideForm": True, "mode": "Source", "type": "chat", "parameters": {}}}) == []
    assert wrong(chat | {"config": {"type": "webhook"}}) == ["$.components[0].config.type"]
    assert wrong(chat | {"on_error": {"retry": {"attempts": 1}}}) == ["$.components[0].on_error"]


def test_a_config_is_checked_by_its_node_type() -> None:
    assert configured(model="m", kind="a", inner={"level": 2}, key="k") == []
    assert configured(model=5) == [".model"]
    assert configured(model="m", kind="c") == [".kind"]
    assert configured(model="m", inner={"level": "x"}) == [".inner"]
    assert configured(model="m", kinds="a") == [""]
    assert configured() == [""]
    assert configured("built", model=5) == [".model"]
    assert wrong({"id": "m", "provider": "made"}) == ["$.components[0]"]


def test_variables_profiles_and_parameters_pass() -> None:
    assert configured(model="${MODEL}", kind="${KIND}") == []
    assert configured(profile="small") == []
    assert configured(profile="own", own={"model": "m"}) == []
    assert configured(profile="own", own={"modle": "m"}) == [".own"]
    assert configured(profile="small", small={"kind": "b"}) == []
    assert configured(profile="small", kinds="a") == [".kinds"]
    assert configured(parameters={"model": "m"}) == []
    assert configured(parameters={"modle": "m"}) == [".parameters"]


def test_the_schema_lists_the_choices_for_editors() -> None:
    component = SCHEMA["$defs"]["ComponentEntry"]["properties"]
    assert {"chat", "response_answers", "made", "built"} <= set(component["provider"]["examples"])
    assert component["timeout"]["description"].startswith("Time limit")
    made_config = SCHEMA["$defs"]["config.made"]
    assert made_config["properties"]["profile"]["examples"] == ["small"]
