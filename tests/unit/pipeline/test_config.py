"""Configs: profiles, variables, settings, editor keys and the node type's schema."""

import json
from typing import Any

import pytest
from lanemesh.node.names import by_name
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator.pipeline import PipelineInvalid, validate, variables

from unit.pipeline.documents import build, component, faults_of, helps, manifests, reasons, schema, write

CHAT = component("chat_1", "chat")
SHOWN = "`lanemesh nodes llm_llamacpp` shows its settings."


def config_of(config: Any, **options: Any) -> dict[str, Any]:
    graph = build(CHAT, component("llm_1", "llm_llamacpp", "questions chat_1", config=config), **options)
    found: dict[str, Any] = json.loads(graph.components["llm_1"].config)
    return found


def faults_with(config: Any, **options: Any) -> list[tuple[str, str]]:
    told = faults_of(CHAT, component("llm_1", "llm_llamacpp", "questions chat_1", config=config), **options)
    prefix = "/components/1/config"
    return [(pointer.removeprefix(prefix), reason) for pointer, reason in reasons(told)]


def test_profiles_are_the_weakest_and_settings_the_strongest() -> None:
    assert config_of({"profile": "smollm2"}) == {"model": "smollm2", "temperature": 0.5}
    assert config_of({"profile": "smollm2", "temperature": 1}) == {"model": "smollm2", "temperature": 1}
    assert config_of({"profile": "p", "p": {"model": "m", "temperature": 1}}) == {"model": "m", "temperature": 1}
    both = {"profile": "smollm2", "smollm2": {"temperature": 1}, "tiny": {"model": "own"}}
    assert config_of(both) == {"model": "smollm2", "temperature": 1}
    assert config_of(both | {"temperature": 2}, settings={"llm_1.temperature": 0}) == {
        "model": "smollm2",
        "temperature": 0,
    }
    assert config_of(both, settings={"llm_1.profile": "tiny"}) == {"model": "own"}


@pytest.mark.parametrize("order", [1, -1])
def test_settings_within_a_key_are_put_into_that_of_the_key_in_any_order(order: int) -> None:
    given = {"llm_1.sampling": {"top_k": 1}, "llm_1.sampling.top_k": 2, "llm_1.temperature": 1}
    config = config_of({"sampling": {"top_k": 0}}, settings=dict(list(given.items())[::order]))
    assert config == {"sampling": {"top_k": 2}, "temperature": 1}


def test_wrong_profiles() -> None:
    assert faults_with({"profile": "smolm2"}) == [("/profile", "unknown-profile")]
    assert faults_with({"profile": 7}) == [("/profile", "bad-config")]
    assert faults_with({"profile": "p", "p": 7}) == [("/p", "bad-config")]
    assert faults_with({"profile": "p", "p": {"temperature": "x"}}) == [("/p/temperature", "bad-config")]


def test_variables_come_from_the_environment() -> None:
    environment = {"KEY": "k-1", "HOST": "h"}
    assert config_of({"model": "${HOST}/${KEY} $HOST {HOST}"}, environment=environment) == {
        "model": "h/k-1 $HOST {HOST}"
    }
    assert config_of({"model": "$${HOST} ${a.b}"}, environment=environment) == {"model": "${HOST} ${a.b}"}
    assert config_of({"profile": "p", "p": {"key": "${KEY}"}}, environment=environment) == {"key": "k-1"}
    assert config_of({"model": "x"}, settings={"llm_1.model": "${KEY}"}, environment=environment) == {"model": "${KEY}"}


@pytest.mark.parametrize("value", ["x" * 10_000, ""])
def test_error_what_variables_insert_is_bounded_in_all_configs_together(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    total = sum(len(value) + len(f"/components/{number}/config/key") for number in range(20))
    document = write(*(component(f"llm_{number}", "llm_llamacpp", config={"key": "${V}"}) for number in range(20)))
    monkeypatch.setattr(variables, "MAX_INSERTED", total - 1)
    with pytest.raises(PipelineInvalid) as raised:
        validate(document, manifests(), environment={"V": value})
    assert [(fault.pointer, fault.reason) for fault in raised.value.faults] == [
        ("/components/19/config/key", "too-large")
    ]
    monkeypatch.setattr(variables, "MAX_INSERTED", total)
    with pytest.raises(PipelineInvalid) as raised:
        validate(document, manifests(), environment={"V": value})
    assert "too-large" not in {fault.reason for fault in raised.value.faults}


def test_relative_paths_count_from_the_folder_of_the_document() -> None:
    path = {"type": "string", "format": "path"}
    types = manifests()
    types["tool_python"].config_schema_json = schema(
        file=path,
        rest={"type": "array", "items": path},
        other={"anyOf": [path, {"type": "null"}]},
        text={"type": "string"},
        kept=path,
    )
    types["tool_python"].profiles_json = json.dumps({"p": {"kept": "own.py"}})

    def config_in(folder: str, settings: Any = None, **config: Any) -> Any:
        tool = component("tool_1", "tool_python", config=config, control=helps("agent_1", "tool"))
        llm = component("llm_1", "llm_llamacpp", control=helps("agent_1", "llm"))
        document = write(CHAT, component("agent_1", "agent_wave", "questions chat_1"), llm, tool)
        graph = validate(document, types, environment={"DIR": "d"}, settings=settings, folder=folder)
        return json.loads(graph.components["tool_1"].config)

    assert config_in("/at", file="a.py", rest=["../b.py", "/c.py"], other="c/d.py") == {
        "file": "/at/a.py",
        "rest": ["/at/../b.py", "/c.py"],
        "other": "/at/c/d.py",
    }
    assert config_in("/at", file="${DIR}/a.py", other=None, text="a.py") == {
        "file": "/at/d/a.py",
        "other": None,
        "text": "a.py",
    }
    assert config_in("/at", file="~/a.py", rest=[""]) == {"file": "~/a.py", "rest": [""]}
    assert config_in("/at", settings={"tool_1.file": "a.py"}, profile="p") == {"file": "a.py", "kept": "own.py"}
    assert config_in("", file="a.py") == {"file": "a.py"}


def test_relative_paths_inside_objects_and_references_count_from_the_folder_too() -> None:
    types = manifests()
    whole = json.loads(schema(sets={"type": "array", "items": {"$ref": "#/$defs/set"}}, pair={"$ref": "#/$defs/pair"}))
    path = {"type": "string", "format": "path"}
    either = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/path"}]}
    whole["$defs"] = {
        "path": path,
        "set": {"type": "object", "properties": {"root": either, "name": {"type": "string"}}},
        "pair": {"type": "array", "prefixItems": [path, {"type": "string"}]},
    }
    types["tool_python"].config_schema_json = json.dumps(whole)
    tool = component(
        "tool_1",
        "tool_python",
        config={"sets": [{"root": "a", "name": "n"}], "pair": ["b", "c"]},
        control=helps("agent_1", "tool"),
    )
    llm = component("llm_1", "llm_llamacpp", control=helps("agent_1", "llm"))
    document = write(CHAT, component("agent_1", "agent_wave", "questions chat_1"), llm, tool)

    graph = validate(document, types, environment={}, folder="/at")

    expected = {"sets": [{"root": "/at/a", "name": "n"}], "pair": ["/at/b", "c"]}
    assert json.loads(graph.components["tool_1"].config) == expected


def test_missing_variables_are_faults_where_they_count() -> None:
    assert faults_with({"key": "${KEY}", "model": "${MODEL}"}) == [
        ("/key", "missing-variable"),
        ("/model", "missing-variable"),
    ]
    unused = {"profile": "smollm2", "tiny": {"key": "${KEY}"}}
    assert config_of(unused) == {"model": "smollm2", "temperature": 0.5}


def test_secrets_stay_out_of_faults_and_of_what_is_printed() -> None:
    environment = {"KEY": "s3cret"}
    for config in ({"temperature": "${KEY}"}, {"device": "${KEY}"}, {"sampling": "${KEY}"}, {"x": "${KEY}"}):
        told = faults_of(
            CHAT, component("l", "llm_llamacpp", "questions chat_1", config=config), environment=environment
        )
        assert "s3cret" not in repr(told)
    graph = build(
        CHAT, component("l", "llm_llamacpp", "questions chat_1", config={"key": "${KEY}"}), environment=environment
    )
    assert "s3cret" not in repr(graph)
    assert "s3cret" in graph.components["l"].config


def test_settings_apply_at_the_depth_of_their_key() -> None:
    assert config_of({}, settings={"llm_1.sampling.top_k": 3}) == {"sampling": {"top_k": 3}}
    assert faults_with({"model": "m"}, settings={"llm_1.model.size": 3}) == [("", "bad-setting")]
    assert faults_with({}, settings={"llm_2.temperature": 1}) == [("", "unknown-setting")]
    assert faults_with({}, settings={"temperature": 1, "llm_1.": 2}) == [("", "bad-setting"), ("", "bad-setting")]


def told_of(config: Any, **settings: Any) -> list[str]:
    """The messages of faults that are all at no place in the document."""
    given = {f"llm_1.{key}": value for key, value in settings.items()}
    faults = faults_of(CHAT, component("llm_1", "llm_llamacpp", "questions chat_1", config=config), settings=given)
    assert {fault.pointer for fault in faults} == {""}
    return [f"{fault.reason}: {fault.message}" for fault in faults]


def test_a_fault_of_a_setting_names_the_setting_and_no_place_in_the_document() -> None:
    unsuited = 'The setting "llm_1.{}" is invalid for llm_llamacpp: '
    assert told_of({}, temprature=1) == [f"unknown-setting: {unsuited.format('temprature')}it is not a known key."]
    assert told_of({"temperature": 1}, temperature="hot") == [
        f"bad-setting: {unsuited.format('temperature')}it must be a number, not a string."
    ]
    assert told_of({}, sampling={"top_k": "x"}) == [
        f"bad-setting: {unsuited.format('sampling')}`top_k` must be an integer, not a string."
    ]
    assert told_of({"sampling": {}}, **{"sampling.top_k": "x"}) == [
        f"bad-setting: {unsuited.format('sampling.top_k')}it must be an integer, not a string."
    ]
    assert told_of({}, **{"topp.x": 1}) == [f"unknown-setting: {unsuited.format('topp.x')}it is not a known key."]
    assert told_of({}, profile="smolm2") == [
        'bad-setting: The setting "llm_1.profile": llm_llamacpp has no profile "smolm2".'
    ]


def test_a_fault_of_the_document_keeps_its_place_where_there_are_settings() -> None:
    assert faults_with({"temperature": "x"}, settings={"llm_1.model": "m"}) == [("/temperature", "bad-config")]


def test_an_unknown_profile_is_one_fault() -> None:
    types = manifests()
    needed = json.loads(types["llm_llamacpp"].config_schema_json) | {"required": ["model"]}
    types["llm_llamacpp"].config_schema_json = json.dumps(needed)

    def told(config: Any) -> list[tuple[str, str]]:
        with pytest.raises(PipelineInvalid) as caught:
            validate(write(CHAT, component("llm_1", "llm_llamacpp", "questions chat_1", config=config)), types)
        return [(fault.reason, fault.hint.split(". ")[0]) for fault in caught.value.faults]

    assert told({}) == [("missing-config-key", 'Add "model".')]
    assert told({"profile": "smolm2"}) == [("unknown-profile", "Nearest: smollm2")]
    assert told({"profile": "fst", "fast": {"model": "m"}}) == [("unknown-profile", "Nearest: fast")]
    assert told({"profile": 7})[0][0] == "bad-config"
    assert len(told({"profile": 7})) == 1


@pytest.mark.parametrize(
    ("config", "pointer", "message", "hint"),
    [
        ({"temperature": "x"}, "/temperature", "`temperature` must be a number, not a string", SHOWN),
        ({"temperature": 2.5}, "/temperature", "`temperature` must be at most 2", SHOWN),
        ({"key": 7}, "/key", "`key` must be a string or null, not an integer", SHOWN),
        ({"sampling": {"top_k": True}}, "/sampling/top_k", "`sampling.top_k` must be an integer, not a boolean", SHOWN),
        ({"device": "tpu"}, "/device", "`device` is not one of the values allowed", 'Allowed: "cpu", "gpu".'),
        ({"modle": "m"}, "/modle", "`modle` is not a known key", "Nearest: model."),
    ],
)
def test_a_violation_of_a_schema_is_described(config: Any, pointer: str, message: str, hint: str) -> None:
    (fault,) = faults_of(CHAT, component("llm_1", "llm_llamacpp", "questions chat_1", config=config))
    assert fault.pointer == f"/components/1/config{pointer}"
    assert fault.message == f"In the config of llm_1 (llm_llamacpp): {message}."
    assert fault.hint == hint


@pytest.mark.conformance("PIPE-05")
def test_a_document_of_a_visual_editor_loads() -> None:
    ui = {"position": {"x": 20, "y": 200}, "nodeType": "default", "formDataValid": True}
    graph = build(
        component(
            "chat_1", "chat", config={"hideForm": True, "mode": "Source", "parameters": {}, "type": "chat"}, ui=ui
        ),
        component("agent_1", "agent_wave", "questions chat_1", ui=ui),
        component(
            "llm_1",
            "llm_local",
            config={"profile": "small", "small": {"key": "${KEY}"}, "parameters": {"temperature": 1}},
            control=helps("agent_1", "llm"),
            ui=ui,
        ),
        component(
            "tool_1", "tool_python", config={"type": "tool_python", "file": "f"}, control=helps("agent_1", "tool")
        ),
        component("out", "response", "answers agent_1", config={"lane": "answers"}, ui=ui),
        project_id="93a8",
        viewport={"x": 0, "y": 0, "zoom": 1},
        version=1,
        environment={"KEY": "k"},
    )
    assert graph.source == "chat_1"
    assert graph.components["llm_1"].provider == "llm_llamacpp"
    assert json.loads(graph.components["llm_1"].config) == {"key": "k", "temperature": 1}
    assert json.loads(graph.components["chat_1"].config) == {}
    assert json.loads(graph.components["tool_1"].config) == {"file": "f"}


def test_an_alias_brings_the_profile_of_its_name_as_the_weakest() -> None:
    types = manifests()
    types["llm_llamacpp"].profiles_json = json.dumps(
        {"llm_local": {"model": "local", "temperature": 1}, "tiny": {"model": "tiny"}}
    )

    def resolved(provider: str, **config: Any) -> dict[str, Any]:
        text = write(CHAT, component("llm_1", provider, "questions chat_1", config=config))
        found: dict[str, Any] = json.loads(validate(text, types).components["llm_1"].config)
        return found

    assert resolved("llm_local") == {"model": "local", "temperature": 1}
    assert resolved("llm_local", profile="tiny", temperature=0) == {"model": "tiny", "temperature": 0}
    assert resolved("llm_llamacpp") == {}


def test_a_fault_of_a_profile_of_an_alias_points_at_the_provider() -> None:
    types = manifests()
    types["llm_llamacpp"].profiles_json = json.dumps({"llm_local": {"temperature": 5}})
    with pytest.raises(PipelineInvalid) as caught:
        validate(write(CHAT, component("llm_1", "llm_local", "questions chat_1")), types)
    assert reasons(caught.value.faults) == [("/components/1/provider", "bad-config")]


def test_a_name_goes_before_an_alias_and_of_two_aliases_the_first() -> None:
    made = [
        node_pb2.Manifest(provider="a", aliases=["b", "x"]),
        node_pb2.Manifest(provider="b"),
        node_pb2.Manifest(provider="c", aliases=["x"]),
    ]
    for order in (made, made[::-1]):
        assert {name: found.provider for name, found in by_name(order).items()} == {
            "a": "a",
            "b": "b",
            "c": "c",
            "x": "a",
        }


def test_config_and_connections_of_an_unknown_node_type_are_not_reported() -> None:
    faults = faults_of(
        CHAT,
        component("db", "database", "questions chat_1", config={"key": "${NOT_SET}", "profile": 5}),
        component("agent_1", "agent_wave", "questions db"),
        component("memory", "remembering", control=helps("agent_1", "memory")),
        component("model", "model_elsewhere", control=helps("agent_1", "llm")),
    )
    assert reasons(faults) == [(f"/components/{number}/provider", "unknown-provider") for number in (1, 3, 4)]


def faults_of_slug(pattern: str, value: str) -> list[str]:
    types = manifests()
    types["llm_llamacpp"].config_schema_json = schema(slug={"type": "string", "pattern": pattern})
    text = write(CHAT, component("llm_1", "llm_llamacpp", "questions chat_1", config={"slug": value}))
    try:
        validate(text, types)
    except PipelineInvalid as invalid:
        return [fault.message for fault in invalid.faults]
    return []


def test_a_pattern_is_matched_in_linear_time_by_the_rules_of_pydantic() -> None:
    backtracking = r"^([a-z0-9]+-?)+$"
    assert faults_of_slug(backtracking, "hello-world") == []
    (message,) = faults_of_slug(backtracking, "a" * 100_000 + "_")
    assert (
        message == f"In the config of llm_1 (llm_llamacpp): `slug` must match the pattern {json.dumps(backtracking)}."
    )
    assert faults_of_slug(r"^\p{Lu}\w*$", "Éé") == []
    assert len(faults_of_slug(r"^\p{Lu}\w*$", "éé")) == 1


def test_a_pattern_that_no_linear_engine_knows_is_left_to_the_node() -> None:
    assert faults_of_slug("^(?=a)b", "c") == []


def test_keys_with_a_pattern_that_no_linear_engine_knows_are_left_to_the_node() -> None:
    types = manifests()
    numbers = {"patternProperties": {"^(?=a)a+$": {"type": "integer"}, "^b$": {"type": "integer"}}}
    limits = {"type": "object", "additionalProperties": False, **numbers}
    types["llm_llamacpp"].config_schema_json = schema(limits=limits)
    config = {"limits": {"a": "x", "b": "y", "c": "z"}}
    with pytest.raises(PipelineInvalid) as caught:
        validate(write(CHAT, component("llm_1", "llm_llamacpp", "questions chat_1", config=config)), types)
    assert [(fault.pointer, fault.reason) for fault in caught.value.faults] == [
        ("/components/1/config/limits/b", "bad-config")
    ]


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/schema.json", "file:///etc/hostname", "other.json"])
def test_a_schema_outside_a_manifest_is_not_fetched(reference: str) -> None:
    types = manifests()
    types["llm_llamacpp"].config_schema_json = schema(slug={"$ref": reference})
    with pytest.raises(PipelineInvalid) as caught:
        validate(write(CHAT, component("llm_1", "llm_llamacpp", "questions chat_1", config={"slug": 1})), types)
    assert [fault.reason for fault in caught.value.faults] == ["bad-manifest"]


def test_the_alternative_of_the_right_type_is_reported() -> None:
    types = manifests()
    inner = {"type": "object", "properties": {"level": {"type": "integer"}}}
    types["llm_llamacpp"].config_schema_json = schema(inner={"anyOf": [inner, {"type": "null"}]})
    text = write(CHAT, component("llm_1", "llm_llamacpp", "questions chat_1", config={"inner": {"level": "x"}}))
    with pytest.raises(PipelineInvalid) as caught:
        validate(text, types)
    assert [fault.pointer for fault in caught.value.faults] == ["/components/1/config/inner/level"]


def test_unknown_keys_past_the_limit_are_not_compared() -> None:
    config = {f"modle{number}": number for number in range(20_000)}
    assert len(faults_with(config)) == 100
