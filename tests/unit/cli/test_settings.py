"""The settings of a node type as rows: their types, and those of objects within."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lanemesh.client.node_types import decode_node_type
from lanemesh.node.manifest import manifest_of
from lanemesh.server.services import InstalledServices, service_names
from lanemesh_orchestrator.cli.output.settings import MAX_DEPTH, settings, type_name
from pydantic import BaseModel, Field


class Point(BaseModel):
    """A point."""

    x: int = Field(description="To the right.")
    label: str | None = None


class Tree(BaseModel):
    """A tree."""

    name: str = ""
    trees: list[Tree] = []


class Forest(BaseModel):
    """Trees."""

    trees: list[Tree] = []


class Config(BaseModel):
    """Settings of any kind."""

    single: Point | None = Field(None, description="One point.")
    several: list[Point] = []
    named: dict[str, Point] = {}
    rates: dict[str, float] = {}
    mixed: list[str | Point] = []


def rows(config: type[BaseModel]) -> dict[str, tuple[str, str, str]]:
    return {one.name: (one.type, one.default, one.meaning) for one in settings(config.model_json_schema())}


def test_the_settings_of_an_object_follow_it_with_their_types() -> None:
    found = rows(Config)
    assert list(found)[:3] == ["single", "single.x", "single.label"]
    assert found["single"] == ("object or null", "null", "One point.")
    assert found["single.x"] == ("integer", "required", "To the right.")
    assert found["single.label"] == ("string or null", "null", "")


def test_lists_and_mappings_of_objects_are_marked_in_the_names() -> None:
    found = rows(Config)
    assert (found["several"][0], found["several[].x"][0]) == ("array of object", "integer")
    assert (found["named"][0], found["named.*.x"][0]) == ("object of object", "integer")
    assert (found["mixed"][0], found["mixed[].x"][0]) == ("array of (string or object)", "integer")
    assert found["rates"][0] == "object of number"


def test_an_object_that_has_itself_ends() -> None:
    assert list(rows(Tree)) == ["name", "trees"]
    assert list(rows(Forest)) == ["trees", "trees[].name", "trees[].trees"]


def test_objects_within_objects_have_rows_up_to_a_depth() -> None:
    levels = {str(n): {"type": "object", "properties": {"in": {"$ref": f"#/$defs/{n + 1}"}}} for n in range(20)}
    found = settings({"properties": {"in": {"$ref": "#/$defs/0"}}, "$defs": levels})
    assert len(found) == MAX_DEPTH + 1


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ({"enum": ["a", "b"]}, '"a" or "b"'),
        ({"const": 1}, "1"),
        ({"type": ["integer", "null"]}, "integer or null"),
        ({"$ref": "#/$defs/Nowhere"}, "any"),
        ({"anyOf": [{"$ref": "#/$defs/Kind"}, {"type": "null"}]}, '"x" or "y" or null'),
        ({}, "any"),
    ],
)
def test_a_type_in_a_few_words(about: dict[str, Any], name: str) -> None:
    assert type_name(about, {"Kind": {"enum": ["x", "y"]}}) == name


def test_no_setting_of_a_node_type_is_of_any_type_but_json() -> None:
    assert set(_settings_of_any_type()) == {"timer.data"}


def _settings_of_any_type() -> Iterator[str]:
    installed = InstalledServices()
    for service in service_names():
        for node in installed.load(service).nodes:
            found = decode_node_type(manifest_of(node, service))
            for setting in settings(found.config_schema):
                if "any" in setting.type.split():
                    yield f"{found.provider}.{setting.name}"
