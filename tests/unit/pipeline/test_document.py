"""From text to document: JSON and its fields, and where in the text something stands."""

import json
import time
from typing import Any, cast

import pytest
from lanemesh_orchestrator.pipeline import PipelineInvalid, parse
from lanemesh_orchestrator.pipeline.positions import Location, locate, span, spans

from unit.pipeline.documents import component, write


def refused(text: str) -> tuple[str, str]:
    with pytest.raises(PipelineInvalid) as caught:
        parse(text)
    (fault,) = caught.value.faults
    return fault.pointer, fault.reason


@pytest.mark.conformance("PIPE-02")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("components: []", "not-json"),
        ('{"components": [}', "not-json"),
        ('{"components": []} x', "not-json"),
        ('{"components": NaN}', "not-json"),
        ('{"components": 1e999}', "not-json"),
        ('{"components": ' + "9" * 5_000 + "}", "not-json"),
        ("[]", "wrong-type"),
        ("null", "wrong-type"),
        (" " * 50_000_000, "too-large"),
        ('{"components": ' + "[" * 5_000_000, "too-deep"),
        ('{"components": ' + "[" * 100 + "]" * 100 + "}", "too-deep"),
        ('{"components": [' + "0," * 20_000 + "0]}", "too-large"),
    ],
    ids=range(14),
)
def test_what_is_no_document_is_refused_quickly(text: str, reason: str) -> None:
    start = time.thread_time()
    pointer, found = refused(text)
    assert (pointer.removesuffix("components"), found) in (("", reason), ("/", reason))
    assert time.thread_time() - start < 2


@pytest.mark.conformance("PIPE-02")
def test_duplicate_keys_are_found_wherever_they_stand() -> None:
    text = '{"components": [{"id": "a", "provider": "chat", "id": "b", "config": {"x/y": {"k": 1, "k": 2, "k": 3}}}]}'
    faults = parse(text).faults
    assert {(fault.pointer, fault.reason) for fault in faults} == {
        ("/components/0/id", "duplicate-key"),
        ("/components/0/config/x~1y/k", "duplicate-key"),
    }


def test_faults_of_fields_are_reported_and_the_rest_is_kept() -> None:
    document = parse(
        write(
            {"id": "a b", "provider": "chat", "input": {}},
            {"provider": "chat", "timeout": 0},
            component("c", "chat", configs={}, concurrency="2"),
            component("d", "chat", input=[{"lane": "text"}, {"lane": "text", "from": "c", "buffer_limit": 0}]),
            component("e", "chat", on_error="retry", ui={"x": 1}),
            cast("dict[str, Any]", 7),
            version=2,
            project_id="p",
        )
    )
    assert [(fault.pointer, fault.reason) for fault in document.faults] == [
        ("/version", "bad-value"),
        ("/components/0/input", "wrong-type"),
        ("/components/0/id", "bad-value"),
        ("/components/1", "missing-field"),
        ("/components/1/timeout", "bad-value"),
        ("/components/2/concurrency", "wrong-type"),
        ("/components/2/configs", "unknown-field"),
        ("/components/3/input/0", "missing-field"),
        ("/components/3/input/1/buffer_limit", "bad-value"),
        ("/components/4/on_error", "bad-value"),
        ("/components/5", "wrong-type"),
    ]
    assert [told.entry.id for told in document.components] == ["", "", "c", "d", "e"]
    assert document.editor == {"project_id": "p"}
    assert document.components[4].editor == {"ui": {"x": 1}}
    hints = {fault.pointer: fault.hint for fault in document.faults}
    assert hints["/components/2/configs"] == "Nearest: config."
    messages = {fault.pointer: fault.message for fault in document.faults}
    assert messages["/components/4/on_error"].startswith('`on_error` must be "fail", "skip" or')
    assert messages["/components/1/timeout"] == "`timeout` must be greater than 0."


def test_components_must_be_there() -> None:
    assert [fault.reason for fault in parse("{}").faults] == ["missing-field"]
    assert [fault.reason for fault in parse('{"components": []}').faults] == ["no-components"]
    assert [fault.reason for fault in parse('{"components": {}}').faults] == ["wrong-type"]


def test_a_byte_order_mark_is_no_fault() -> None:
    assert parse("\ufeff" + write(component("a", "chat"))).components[0].entry.id == "a"


TEXT = """{
  "components": [
    {"id": "chat_1", "provider": "chät", "config": {"a/b": [1, 22, {"~": "x"}], "id": ""}},
    {"id": "say \\"}\\" {", "input": [
      {"lane": "text"}
    ], "provider": "llm_lamacpp"}
  ],
  "version" : 1, "source": "a", "source": "bcd"
}"""


@pytest.mark.parametrize(
    ("pointer", "line", "shown"),
    [
        ("/components/0/id", 3, "chat_1"),
        ("/components/0/provider", 3, "chät"),
        ("/components/0/config/a~1b/1", 3, "22"),
        ("/components/0/config/a~1b/2/~0", 3, "x"),
        ("/components/0/config/id", 3, '""'),
        ("/components/1/id", 4, 'say \\"}\\" {'),
        ("/components/1/input", 4, "["),
        ("/components/1/input/0", 5, '{"lane": "text"}'),
        ("/components/1/input/0/from", 5, '{"lane": "text"}'),
        ("/components/1/provider", 6, "llm_lamacpp"),
        ("/version", 8, "1"),
        ("/source", 8, "bcd"),
        ("/nowhere", 1, "{"),
        ("", 1, "{"),
    ],
)
def test_a_pointer_is_found_in_the_text(pointer: str, line: int, shown: str) -> None:
    for text in (TEXT, "\ufeff" + TEXT if line > 1 else TEXT, TEXT.replace("\n", "\r\n")):
        found = locate(text, pointer)
        assert found.line == line
        assert text.split("\n")[line - 1][found.column - 1 :][: found.length] == shown


def test_a_syntax_error_is_found_in_the_text() -> None:
    assert locate('{\n "a": ]}', "") == Location(2, 7, 1)
    assert locate("", "/a/b") == Location(1, 1, 1)
    for cut in range(len(TEXT)):
        locate(TEXT[:cut], "/components/1/input/0/lane")


def test_every_pointer_of_a_document_is_found() -> None:
    tree = json.loads(TEXT)
    rest = [("", tree)]
    while rest:
        pointer, value = rest.pop()
        members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in members:
            place = f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
            rest.append((place, inner))
            found = locate(TEXT, place)
            shown = TEXT.split("\n")[found.line - 1][found.column - 1 :][: found.length]
            if isinstance(inner, str) and inner:
                assert json.loads(f'"{shown}"') == inner
            elif not isinstance(inner, dict | list):
                assert json.loads(shown) == inner


@pytest.mark.parametrize(
    ("on_error", "place", "said"),
    [
        (
            {"retry": {"attempts": 3, "backof": 1}},
            "/retry/backof",
            ('There is no field "backof".', "Nearest: backoff."),
        ),
        ({"retry": {"attempts": 0}}, "/retry/attempts", ("`attempts` must be greater than or equal to 2.", "")),
        ({"retry": {}}, "/retry", ("The field `attempts` is missing.", 'Add "attempts".')),
        ({"retry": 3}, "/retry", ("`retry` must be an object.", "")),
        ({}, "", ("The field `retry` is missing.", 'Add "retry".')),
    ],
)
def test_faults_of_on_error_point_at_their_place(on_error: dict[str, Any], place: str, said: tuple[str, str]) -> None:
    (fault,) = parse(write(component("c", "chat", on_error=on_error))).faults
    assert (fault.pointer, fault.message, fault.hint) == (f"/components/0/on_error{place}", *said)


def test_a_field_inside_another_is_compared_with_its_neighbours() -> None:
    (fault,) = parse(write(component("c", "chat", placement={"lables": {}}))).faults
    assert (fault.pointer, fault.hint) == ("/components/0/placement/lables", "Nearest: labels.")


def test_several_values_are_found_as_each_of_them() -> None:
    pointers = ["/components/1/id", "/components/0/config/a~1b/2/~0", "/version", "/components/0/config/id"]

    for text in (TEXT, "\ufeff" + TEXT):
        assert spans(text, pointers) == sorted(span(text, pointer) for pointer in pointers)
    assert spans('{"a": "x", "b": [1, {"a": "y"}], "a": {"c": "z"}}', ["/a"]) == [(6, 9), (38, 48)]
    assert spans(TEXT, []) == []
