"""Bounds of clients' documents: each is refused in its place, by an error that names the limit."""

import json
from typing import Any

import pytest
from lanemesh_orchestrator.pipeline import PipelineInvalid, validate
from lanemesh_orchestrator.pipeline.document import MAX_COMPONENTS, MAX_CONNECTIONS
from lanemesh_orchestrator.pipeline.faults import MAX_FAULTS, PipelineFault
from lanemesh_orchestrator.pipeline.json_limits import MAX_DEPTH, MAX_POINTER

from unit.pipeline.documents import component, manifests, write

CHAT = component("chat_1", "chat")
HALF = "\ud800"


def faults_of_text(text: str) -> tuple[PipelineFault, ...]:
    with pytest.raises(PipelineInvalid) as caught:
        validate(text, manifests())
    for fault in caught.value.faults:
        fault.to_proto()  # protobuf can hold it
    caught.value.fault.to_proto()
    return caught.value.faults


def places(text: str) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.reason) for fault in faults_of_text(text)]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name": HALF}, "/name"),
        ({"description": f"a{HALF}b"}, "/description"),
        ({"ui": [[HALF]]}, "/ui/0/0"),
        ({"ui": {f"a{HALF}": 1}}, "/ui"),
        ({HALF: 1}, ""),
    ],
)
def test_half_a_surrogate_pair_is_refused_where_it_stands(fields: dict[str, Any], pointer: str) -> None:
    assert places(write(CHAT, **fields)) == [(pointer, "not-text")]


def test_half_a_surrogate_pair_in_a_component_is_refused_where_it_stands() -> None:
    bad = component(HALF, "chat", config={"a": {"b": [HALF]}, f"c{HALF}": 1}, name=HALF)
    assert places(write(CHAT, bad)) == [
        ("/components/1/config", "not-text"),
        ("/components/1/config/a/b/0", "not-text"),
        ("/components/1/id", "not-text"),
        ("/components/1/name", "not-text"),
    ]


def test_a_raw_half_of_a_surrogate_pair_is_refused_too() -> None:
    assert places(f'{{"components": [], "name": "{HALF}"}}') == [("/name", "not-text")]


def test_a_whole_pair_and_an_escaped_backslash_are_text() -> None:
    graph = validate(write(CHAT, name="\U0001f600 \\ud800"), manifests())
    assert graph.name == "\U0001f600 \\ud800"


def nested(depth: int) -> str:
    return '{"ui": ' + "[" * depth + "]" * depth + "}"


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        (nested(MAX_DEPTH), "MAX_DEPTH"),
        (nested(1_000_000), "MAX_DEPTH"),
        (json.dumps({"ui": {"k" * MAX_POINTER: 1}}), "MAX_POINTER"),
        (json.dumps({"ui": {"k" * (MAX_POINTER // 2): {"k" * (MAX_POINTER // 2): [0]}}}), "MAX_POINTER"),
        (write(*[{}] * (MAX_COMPONENTS + 1)), "MAX_COMPONENTS"),
        (write({"input": [0] * (MAX_CONNECTIONS + 1)}), "MAX_CONNECTIONS"),
    ],
)
def test_what_is_too_large_names_the_limit(text: str, limit: str) -> None:
    (fault,) = faults_of_text(text)
    assert limit in fault.message


@pytest.mark.parametrize(
    "text",
    [
        write({"id": "a", "provider": "chat"} | {f"field{number}": 1 for number in range(100_000)}),
        write({"id": "a", "provider": "chat", "input": [{"lane": 5, "form": 1}] * MAX_CONNECTIONS}),
        write(CHAT, ui=[HALF] * 100_000),
        '{"components": [], "ui": {' + ", ".join(f'"k{n}": 1, "k{n}": 2' for n in range(50_000)) + "}}",
    ],
)
def test_faults_past_the_limit_are_not_looked_for(text: str) -> None:
    assert len(faults_of_text(text)) == MAX_FAULTS + 1
