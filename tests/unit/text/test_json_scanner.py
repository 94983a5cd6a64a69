"""JSON objects in a stream of text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanemesh_services.text.json_scanner import JsonScanner, TooLong

from repeats import times


def scan(text: str, *, step: int = 1, size: int = 100_000) -> list[dict[str, object]]:
    scanner = JsonScanner(size)
    found: list[dict[str, object]] = []
    for start in range(0, len(text), step):
        found += scanner.push(text[start : start + step])
    return found


@pytest.mark.parametrize("step", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("no objects [1, 2]", []),
        ('{"a": 1}', [{"a": 1}]),
        ('{}{"a":{}}', [{}, {"a": {}}]),
        ('Here:\n```json\n{"a": [1, {"b": null}], "c": true}\n``` and {"d": -1.5e3}.', None),
        (r'{"a": "} \" { \\"} {"b": "\u00e9\\"}', [{"a": '} " { \\'}, {"b": "é\\"}]),
        ('a set {1, 2}, a {name}, {"x": 1}', [{"x": 1}]),
        ('{{{"x": 1}}}', [{"x": 1}]),
        ('{"a": 1, oops {"b": 2}', [{"b": 2}]),
        ('{"a": {"b": 1}, oops}', [{"b": 1}]),
        ('{"a": 01} {"b": 2}', [{"b": 2}]),
        ('{"a": tru} {"b": 2}', [{"b": 2}]),
        ('{"a": NaN} {"b": 2}', [{"b": 2}]),
        ('{"a": 1e999} {"b": 2}', [{"b": 2}]),
        ('{"a": 1,} {"b": 2}', [{"b": 2}]),
        ('{"a": [1,]} {"b": 2}', [{"b": 2}]),
        ('{"a" 1} {"b": 2}', [{"b": 2}]),
        ('{"a": [}] {"b": 2}', [{"b": 2}]),
        ("{'a': 1} {\"b\": 2}", [{"b": 2}]),
        ('{"a": "line\nbreak"} {"b": 2}', [{"b": 2}]),
        ('{"a": "\\ud800"} {"b": 2}', [{"b": 2}]),
        ('say {" and {"b": 2}', [{"b": 2}]),
        ('{"big": 9223372036854775807, "bigger": 9223372036854775808}', [{"big": 2**63 - 1, "bigger": 2.0**63}]),
        ('{"cut": [1, 2', []),
    ],
)
def test_happy_objects_are_found_wherever_the_text_is_cut(text: str, expected: list[object] | None, step: int) -> None:
    if expected is None:
        expected = [{"a": [1, {"b": None}], "c": True}, {"d": -1500.0}]
    assert scan(text, step=step) == expected


def test_streaming_an_object_is_given_with_its_last_brace() -> None:
    scanner = JsonScanner(100)
    assert scanner.push('x {"a": ') == []
    assert scanner.push("1") == []
    assert scanner.push('} {"b"') == [{"a": 1}]
    assert scanner.finish() == '{"b"'
    assert scanner.finish() == ""


def test_error_an_object_over_the_limit() -> None:
    assert scan('{"a": "' + "x" * 10 + '"}', size=19) == [{"a": "x" * 10}]
    for step in (1, 5, 1_000):
        with pytest.raises(TooLong) as caught:
            scan('{"a": "' + "x" * 100, size=18, step=step)
        assert caught.value.begin.startswith('{"a": "xxx')


def test_error_objects_nest_at_most_100_deep() -> None:
    deep = '{"a":' * 99 + "{}" + "}" * 99
    assert scan(deep, step=50) == [json.loads(deep)]
    assert scan('{"a":' * 100 + "{}" + "}" * 100, step=50) == [json.loads(deep)]


def test_happy_many_braces_take_linear_time() -> None:
    assert scan("{" * 200_000, step=50_000) == []
    assert scan('{"a":[' * 2_000, step=50) == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.many
@settings(max_examples=times(150, 25), deadline=None)
@given(
    st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=4),
    st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"])),
    st.integers(1, 9),
    st.booleans(),
)
def test_happy_any_objects_between_any_text(
    objects: list[dict[str, object]], text: str, step: int, ascii_only: bool
) -> None:
    written = text.join(["", *(json.dumps(item, ensure_ascii=ascii_only) for item in objects), ""])
    assert scan(written, step=step) == objects
