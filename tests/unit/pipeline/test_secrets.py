"""Which values of configs are secret, and documents without them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator.pipeline import PipelineInvalid, plan, run_graph, validate
from lanemesh_orchestrator.pipeline.plan import ServerAddress
from lanemesh_orchestrator.pipeline.redaction import without_secrets
from lanemesh_orchestrator.pipeline.secrets import marked
from pydantic import BaseModel, SecretStr

from unit.pipeline.documents import component, helps, manifests, sends, takes, write


class Login(BaseModel):
    user: str = ""
    password: SecretStr = SecretStr("")


class Settings(BaseModel):
    url: str = ""
    file: Path = Path()
    key: SecretStr = SecretStr("")
    spare: SecretStr | None = None
    keys: list[SecretStr] = []
    named: dict[str, SecretStr] = {}
    login: Login | None = None
    headers: dict[str, str] = {}


SCHEMA = json.dumps(Settings.model_json_schema())
TYPES = {
    **manifests(),
    "store": node_pb2.Manifest(
        provider="store",
        aliases=["vault"],
        config_schema_json=SCHEMA,
        profiles_json=json.dumps({"usual": {"url": "there"}}),
        offers=["tool"],
    ),
    "boss": node_pb2.Manifest(
        provider="boss", invokes=[node_pb2.Invocation(class_type="tool", min=0)], config_schema_json="{}"
    ),
}


def secret_in(
    config: dict[str, Any], folder: str = "", settings: dict[str, Any] | None = None, **environment: str
) -> list[str]:
    """What is secret in the config of a `store`."""
    text = write(
        component("boss_1", "boss"),
        component("store_1", "store", config=config, control=[{"classType": "tool", "from": "boss_1"}]),
    )
    graph = validate(text, TYPES, environment=environment, folder=folder, settings=settings)
    places = plan(graph, dict.fromkeys(graph.components, ServerAddress("here", "")), run_id="run-1")
    told = list(graph.components["store_1"].secret_pointers)
    assert list(places["here"].instances[1].secret_pointers) == told
    return told


def test_a_schema_marks_values_wherever_they_are() -> None:
    config: dict[str, Any] = {
        "url": "u",
        "key": "k",
        "spare": "s",
        "keys": ["a", "b"],
        "named": {"x/y": "z"},
        "login": {"user": "me", "password": "p"},
    }
    pointers = ["/key", "/spare", "/keys/0", "/keys/1", "/named/x~1y", "/login/password"]
    assert marked(SCHEMA, json.loads(SCHEMA), config) == pointers
    assert secret_in(config) == pointers
    assert secret_in({"spare": None, "login": None}) == []


def test_a_schema_that_refers_to_itself_ends() -> None:
    circle = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a", "format": "x", "title": '"password"'}}}
    assert marked('"password"', circle, {"a": 1}) == []


@pytest.mark.parametrize(
    ("pattern", "secret"),
    [
        (r"^([a-z0-9]+-?)+$", ["/ab"]),  # it backtracks for ages in an engine that does
        (r"^\p{Ll}+$", ["/ab"]),  # Python's engine does not know it
        (r"^(?=a)\w+$", ["/ab", f"/{'a' * 60}_"]),  # the engine of linear time does not: better one secret too many
    ],
)
def test_patterns_of_keys_are_matched_in_linear_time(pattern: str, secret: list[str]) -> None:
    schema = {"patternProperties": {pattern: {"writeOnly": True}}}
    assert marked(json.dumps(schema), schema, {"ab": "x", f"{'a' * 60}_": "y"}) == secret


def test_a_key_that_only_may_match_a_pattern_may_be_one_of_the_others() -> None:
    schema = {"patternProperties": {r"^(?!x)": {}, "^plain": {}}, "additionalProperties": {"writeOnly": True}}
    assert marked(json.dumps(schema), schema, {"x": "1", "plain": "2"}) == ["/x"]


def test_what_variables_bring_is_secret_and_what_stands_around_it_is_not() -> None:
    config = {"url": "https://me:${PASS}@host", "headers": {"auth": "Bearer ${PASS}, ${PASS}", "all": "${PASS}"}}
    assert secret_in(config, PASS="12345678") == [
        "/url",
        "/url/11:19",
        "/headers/auth",
        "/headers/auth/7:15",
        "/headers/all",
    ]


def test_a_variable_is_listed_once_for_each_string_however_often_it_is_named_there() -> None:
    assert secret_in({"url": "${PASS} " * 100_000}, PASS="12345678") == ["/url", "/url/0:8"]


def test_short_variables_and_escaped_ones_are_none() -> None:
    assert secret_in({"url": "${MODE} $${LONG}"}, MODE="fast", LONG="12345678") == []


def test_a_path_that_counts_from_a_folder_keeps_its_secret_part() -> None:
    assert secret_in({"file": "${NAME}/x"}, folder="/srv", NAME="12345678") == ["/file", "/file/5:13"]


def test_settings_count_where_the_schema_marks_them_and_replace_variables() -> None:
    config = {"url": "${PASS}", "headers": {"a": "${PASS}", "b": "${PASS}"}}
    settings = {"store_1.key": "given", "store_1.url": "plain", "store_1.headers.a": "plain"}
    assert secret_in(config, settings=settings, PASS="12345678") == ["/key", "/headers/b"]


def test_a_document_is_kept_without_the_secrets_that_are_written_out_in_it() -> None:
    text = """{"components": [
        {"id": "store_1", "provider": "vault", "config": {
            "url": "https://host", "key": "a \\"key\\"", "keys": ["b",  "${FROM_OUTSIDE}", "Bearer ${TOO}"],
            "profile": "own", "own": {"spare": "c", "login": {"user": "me", "password": ""}},
            "parameters": {"key": "d"}, "named": {"a": "e"}
        }},
        {"id": "other", "provider": "unknown", "config": {"key": "stays"}}
    ]}"""
    assert (
        without_secrets(text, TYPES)
        == """{"components": [
        {"id": "store_1", "provider": "vault", "config": {
            "url": "https://host", "key": "***", "keys": ["***",  "${FROM_OUTSIDE}", "***"],
            "profile": "own", "own": {"spare": "***", "login": {"user": "me", "password": "***"}},
            "parameters": {"key": "***"}, "named": {"a": "***"}
        }},
        {"id": "other", "provider": "unknown", "config": {"key": "stays"}}
    ]}"""
    )


@pytest.mark.parametrize(
    "text", ['{"components": 5}', '{"components": [5, {"provider": "store"}, {"config": 5}]}', "{}"]
)
def test_a_document_without_configs_stays_as_it_is(text: str) -> None:
    assert without_secrets(text, TYPES) == text


def test_what_is_no_json_is_not_kept() -> None:
    with pytest.raises(PipelineInvalid):
        without_secrets('{"key": "sk-1234"', TYPES)


def calls_of(work: Callable[[], Any]) -> int:
    """How many functions are called for some work."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_the_work_is_linear_in_the_number_of_secrets() -> None:
    def calls(count: int) -> int:
        text = write(*(component(f"s{number}", "store", config={"key": f"k{number}"}) for number in range(count)))
        assert without_secrets(text, TYPES).count('"***"') == count
        return calls_of(lambda: without_secrets(text, TYPES))

    assert calls(200) < 2.1 * calls(100)


def test_the_graph_has_the_document_without_secrets_of_profiles_and_parts_that_do_not_run() -> None:
    unused = {"url": "u", "profile": "one", "one": {}, "two": {"key": "sk-of-two"}}
    boss = component("boss_1", "boss")
    graph = validate(write(boss, component("s", "store", config=unused, control=helps("boss_1", "tool"))), TYPES)
    assert "sk-of-two" not in graph.text

    sources = [component(name, "hook") for name in ("a", "b")]
    ends = [component("tap_a", "tap", "text a"), component("keep_b", "keep", "text b", config={"key": "sk-of-b"})]
    keep = node_pb2.Manifest(provider="keep", inputs=[takes("text", "text")], config_schema_json=SCHEMA)
    hook = node_pb2.Manifest(provider="hook", boundary=node_pb2.BOUNDARY_SOURCE, outputs=[sends("text", "text")])
    types = {**manifests(), "keep": keep, "hook": hook}
    part = run_graph(validate(write(*sources, *ends), types), "a")
    assert list(part.components) == ["a", "tap_a"]
    assert "sk-of-b" not in part.text
