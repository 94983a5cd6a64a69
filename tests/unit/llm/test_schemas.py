"""Schemas of answers: what is refused before a model is asked, what a grammar gets, and what is checked afterwards."""

import json
from typing import Any

import pytest
from lanemesh_services.llm.schemas import MAX_LENGTH, AnswerSchema, answer_data, begins_json
from lanemesh_services.shared.errors import GenerationRefused


def read(schema: Any) -> AnswerSchema:
    return AnswerSchema.read(schema if isinstance(schema, str) else json.dumps(schema))


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"const": ' + "[" * 100_000 + "]" * 100_000 + "}", "deeper than 100 levels"),
        ('{"title": "' + "x" * MAX_LENGTH + '"}', "the limit is 262,144"),
        (nested(120), "deeper than 100 levels"),
        ({"type": "strin"}, 'not a valid JSON schema: "strin" .* at /type'),
        ({"properties": {"a": {"minimum": "1"}}}, "not a valid JSON schema: .* at /properties/a/minimum"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "nothing outside the schema is fetched"),
        ({"items": {"$ref": "file:///etc/passwd"}}, r"\$ref \"file:///etc/passwd\" at /items"),
        ({"properties": {"a": {"$ref": "other.json"}}}, r"\$ref \"other.json\" at /properties/a"),
        ({"$schema": "http://127.0.0.1:1/schema", "type": "null"}, "json_schema"),
        ({"$ref": "#/$defs/none"}, "refers to no schema"),
        ({"$ref": "#nowhere"}, "refers to no schema"),
        ({"$ref": "#"}, "circular"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, "circular"),
        ({"pattern": "(?=a)a"}, "json_schema"),
        ({"pattern": "(a"}, "json_schema"),
    ],
)
def test_error_a_schema_of_no_use(schema: Any, why: str) -> None:
    with pytest.raises(GenerationRefused, match=why) as raised:
        read(schema)

    assert raised.value.fault.details["field"] == "json_schema"


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ({"not": {"type": "null"}}, 'keyword "not" at its root'),
        ({"properties": {"a": {"type": "array", "uniqueItems": True}}}, 'keyword "uniqueItems" at /properties/a'),
        ({"$defs": {"x": {"if": {}}}}, 'keyword "if" at /\\$defs/x'),
        ({"anyOf": [{}, {"contains": {}}]}, 'keyword "contains" at /anyOf/1'),
        ({"dependentRequired": {"a": ["b"]}}, 'keyword "dependentRequired"'),
        ({"items": {"propertyNames": {"pattern": "x"}}}, 'keyword "propertyNames" at /items'),
        ({"type": "string", "format": "uri"}, 'format "uri" at its root'),
    ],
)
def test_error_a_keyword_that_no_grammar_holds_is_named(schema: Any, name: str) -> None:
    with pytest.raises(GenerationRefused, match=name):
        read(schema).for_grammar()


def test_a_property_may_be_called_like_a_keyword() -> None:
    schema = {"type": "object", "properties": {"not": {"type": "null"}, "$ref": {"type": "string"}}, "const": {"if": 1}}

    assert read(schema).for_grammar() == schema


def test_a_grammar_gets_no_annotation_that_it_would_not_know() -> None:
    schema = read({"type": "integer", "format": "int32", "oneOf": [{"minimum": 3}, {"maximum": 5}]})

    assert schema.for_grammar() == {"type": "integer", "anyOf": [{"minimum": 3}, {"maximum": 5}]}
    assert schema.problem("1") == ""
    assert "more than one" in schema.problem("4")


def test_a_recursive_schema_is_followed_down_into_the_value() -> None:
    schema = read({"type": "object", "properties": {"c": {"$ref": "#"}}, "additionalProperties": False})

    assert schema.problem('{"c": {"c": {}}}') == ""
    assert schema.problem('{"c": {"d": 1}}').endswith("at /c")


def test_a_pattern_is_checked_in_linear_time() -> None:
    schema = read({"type": "string", "pattern": "^([a-z0-9]+-?)+$"})

    assert schema.problem(json.dumps("a" * 100_000 + "!"))  # exponential for a backtracking engine


@pytest.mark.parametrize(
    "text", ["", " ", "-", "1.", "tru", '"a', '"\\ud83d"', "[1, 2", '{"a": fal', "[" * 300, "9" * 5_000]
)
def test_the_beginning_of_json(text: str) -> None:
    assert begins_json(text)


@pytest.mark.parametrize("text", ["The", "True", "{a", '{"a": Tr', "'a'", '{"a" 1', "1 A", "{} x", '"a" b'])
def test_no_beginning_of_json(text: str) -> None:
    assert not begins_json(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 123456789012345678901234567890}', "does not fit in 64 bits"),
        ('{"a": ' + "7" * 5_000 + "}", "does not fit in 64 bits"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": 1e999}', "inf is not a JSON number"),
        ('{"a": "\\ud83d"}', "not valid Unicode"),
        ('{"\\udc00": 1}', "not valid Unicode"),
        ('{"a": 1, "a": 2}', "'a' is duplicated"),
        ("[" * 200 + "]" * 200, "deeper than 100 levels"),
        ("[" * 100_000 + "]" * 100_000, "deeper than 100 levels"),
        ('{"a": "not a number"}', "at /a"),
        ("no JSON", "Expecting value"),
    ],
)
def test_error_data_that_cannot_be_held_has_a_reason(text: str, problem: str) -> None:
    data, why = answer_data(text, {"properties": {"a": {"type": "number"}}})

    assert data is None
    assert problem in why


def test_data_within_the_bounds_is_held() -> None:
    text = '{"a": 9223372036854775807, "b": "\\ud83d\\ude00", "c": "' + "[" * 200 + '"}'

    assert answer_data(text, {}) == (json.loads(text), "")


@pytest.mark.parametrize(
    ("rule", "follows"),
    [({"type": "integer"}, True), ({"minimum": 5}, True), ({"maximum": 5}, False), ({"type": "string"}, False)],
)
def test_an_integer_that_python_does_not_read_is_checked(rule: dict[str, Any], follows: bool) -> None:
    answer = json.dumps({"n": 7}).replace("7", "7" * 5_000)
    problems = AnswerSchema.of({"type": "object", "properties": {"n": rule}}).problems(answer, 1)
    assert (not problems) is follows
    assert not any("not JSON" in problem for problem in problems)
