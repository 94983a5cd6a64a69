"""Every document gives a graph that can be planned and drawn, or faults that can be sent and shown."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanemesh_orchestrator.pipeline import PipelineInvalid, ServerAddress, plan, validate
from lanemesh_orchestrator.pipeline.drawing import draw
from lanemesh_orchestrator.pipeline.positions import locate

from repeats import times
from unit.pipeline.documents import component, helps, manifests

DOCUMENT: dict[str, Any] = {
    "components": [
        component("chat_1", "chat"),
        component("agent_1", "agent_wave", "questions chat_1"),
        component(
            "llm_1", "llm_llamacpp", config={"profile": "tiny", "temperature": 1}, control=helps("agent_1", "llm")
        ),
        component("tool_1", "tool_python", config={"file": "${F}"}, control=helps("agent_1", "tool")),
        component("shout_1", "shout", "text chat_1"),
        component("out", "response", "answers agent_1", "text shout_1", config={"lane": ""}),
    ],
    "source": "chat_1",
    "version": 1,
}
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 1.5, 10**30, "", "x", "chat_1", "${Z}", "\ud800", "a/b~c", [], {}, [[]], {"a": 1}, ["x"]]
)
KEYS = st.sampled_from(["foo", "id", "config", "input", "control", "from", "lane", "profile", "timeout", "sync_mode"])


def members(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*place, key)
        yield from members(part, (*place, key))


@st.composite
def documents(draw_from: st.DrawFn) -> dict[str, Any]:
    """The document after up to four changes anywhere in it."""
    document = copy.deepcopy(DOCUMENT)
    for _ in range(draw_from(st.integers(0, 4))):
        places = list(members(document))
        if not places:
            break
        *above, key = draw_from(st.sampled_from(places))
        around: Any = document
        for part in above:
            around = around[part]
        match draw_from(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                around[key] = copy.deepcopy(draw_from(VALUES))
            case "remove":
                del around[key]
            case _ if isinstance(around, list):
                around.append(copy.deepcopy(around[key]))
            case _:
                around[draw_from(KEYS)] = copy.deepcopy(draw_from(VALUES))
    return document


@pytest.mark.many
@settings(max_examples=times(150, 25), deadline=None)
@given(documents())
def test_any_document_is_a_graph_or_faults(document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1)
    invalid: PipelineInvalid | None = None
    try:
        graph = validate(text, manifests(), environment={"F": "f"})
    except PipelineInvalid as error:
        invalid = error
    if invalid is not None:
        assert invalid.faults
        assert len(invalid.to_status().SerializeToString()) < 8_192
        for fault in invalid.faults:
            assert fault.message.endswith(".")
            assert fault.to_proto().SerializeToString()
            assert locate(text, fault.pointer).line <= text.count("\n") + 1
        return
    places = plan(graph, dict.fromkeys(graph.components, ServerAddress("all", "")), run_id="r")
    assert sum(len(place.instances) for place in places.values()) == len(graph.components)
    assert draw(graph)


def test_the_document_itself_is_valid() -> None:
    validate(json.dumps(DOCUMENT), manifests(), environment={"F": "f"})
