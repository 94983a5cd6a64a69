"""What is worked out from a node class: its ports, its kind, its manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import pytest
from lanemesh import Answer, Context, Image, In, Invokes, Json, Node, Out, Question, Table, Tags
from lanemesh.faults import LanemeshError, NodeDefinitionError
from lanemesh.items import LaneType
from lanemesh.node.manifest import manifest_of
from lanemesh.node.node import Kind, Service, snake_case
from lanemesh.v1 import node_pb2
from pydantic import BaseModel, Field


class Everything(Node):
    """Has a port of every sort."""

    version = "2"
    aliases: ClassVar = ("all",)
    invokes: ClassVar = (Invokes("llm"), Invokes("tool", 0, None))
    profiles: ClassVar = {"small": {"size": 1}}

    class Config(BaseModel):
        size: int = Field(3, ge=1, description="How large.")

    text: In[str]
    question: In[Question]
    number: In[float] = 0.5
    maybe: In[int | None] = None
    either: In[str | int] = ""
    value: In[Json] = None
    object: In[dict[str, Any]]
    array: In[list[str]]
    anything: In[Any] = None
    tags: In[Tags]
    table: In[Table]
    picture: Annotated[In[Image], "What is seen."]
    answers: Out[Answer]
    count: Annotated[Out[int], "How many."]
    not_a_port: int = 7

    def gen_process(self, context: Context) -> Iterator[tuple[str, Any]]:
        yield "count", 1


def test_the_lane_follows_from_the_type() -> None:
    lanes = {name: spec.lane_type for name, spec in Everything.inputs_.items()}
    assert lanes == {
        "text": LaneType.TEXT,
        "question": LaneType.QUESTIONS,
        "number": LaneType.DATA,
        "maybe": LaneType.DATA,
        "either": LaneType.DATA,
        "value": LaneType.DATA,
        "object": LaneType.DATA,
        "array": LaneType.TEXT,
        "anything": None,
        "tags": LaneType.TAGS,
        "table": LaneType.TABLE,
        "picture": LaneType.IMAGE,
    }
    assert {name: spec.lane_type for name, spec in Everything.outputs_.items()} == {
        "answers": LaneType.ANSWERS,
        "count": LaneType.DATA,
    }


def test_a_default_makes_an_input_optional_and_a_list_collects() -> None:
    optional = {name for name, spec in Everything.inputs_.items() if not spec.required}
    assert optional == {"number", "maybe", "either", "value", "anything"}
    assert [name for name, spec in Everything.inputs_.items() if spec.is_list] == ["array"]


def test_the_manifest_describes_every_port() -> None:
    manifest = manifest_of(Everything, "service")
    assert (manifest.provider, manifest.version, manifest.service) == ("everything", "2", "service")
    assert manifest.description == "Has a port of every sort."
    assert list(manifest.aliases) == ["all"]
    assert (manifest.is_streaming_input, manifest.is_streaming_output) == (False, True)
    assert manifest.sync_mode == node_pb2.SYNC_MODE_ON_ANY
    assert {port.name: port.description for port in manifest.inputs if port.description} == {"picture": "What is seen."}
    assert {port.name: port.list for port in manifest.inputs if port.list} == {"array": True}
    assert [(item.class_type, item.min, item.max) for item in manifest.invokes] == [("llm", 1, 1), ("tool", 0, 0)]
    assert json.loads(manifest.profiles_json) == {"small": {"size": 1}}
    schema = json.loads(manifest.config_schema_json)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["size"]["description"] == "How large."


@pytest.mark.parametrize(
    ("name", "snake"),
    [("LlmScripted", "llm_scripted"), ("Add", "add"), ("HTTPCall", "http_call"), ("Json2Text", "json2_text")],
)
def test_the_provider_is_the_name_in_snake_case(name: str, snake: str) -> None:
    assert snake_case(name) == snake


def test_a_subclass_has_the_ports_and_the_body_of_its_base() -> None:
    class More(Everything):
        """More."""

        extra: In[str] = ""

    assert More.provider == "more"
    assert set(More.inputs_) == {*Everything.inputs_, "extra"}
    assert More.kind_ is Kind.GENERATE


def test_settings_that_are_not_declared_are_refused() -> None:
    assert Everything.Config().size == 3  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        Everything.Config.model_validate({"sise": 1})


def test_a_service_refuses_a_class_that_does_nothing() -> None:
    class Nothing(Node):
        """Does nothing."""

    with pytest.raises(NodeDefinitionError, match="implements none of process, gen_process and run"):
        Service("s", [Nothing])


@pytest.mark.parametrize(
    ("port", "good", "bad"),
    [
        ("number", [0.5, 2, -1], ["2", None, True]),
        ("maybe", [1, None], ["1", 1.5]),
        ("either", ["x", 3], [None, 1.5]),
        ("object", [{}, {"a": [1]}], [[], "x"]),
        ("value", [None, 1, "x", [1]], []),
    ],
)
def test_values_are_checked_against_the_declared_type(port: str, good: list[Any], bad: list[Any]) -> None:
    spec = Everything.inputs_[port]
    for value in good:
        assert spec.check(value, "n") == value
    for value in bad:
        with pytest.raises(LanemeshError, match=rf"the input n\.{port} got"):
            spec.check(value, "n")
