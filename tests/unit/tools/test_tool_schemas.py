"""The schemas of tools: from types, defaults and docstrings of every style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from lanemesh import LanemeshError, tool
from lanemesh.tools.function import ToolFunction
from lanemesh.tools.parsing import parse_arguments
from pydantic import BaseModel, Field
from typing_extensions import TypedDict


class Colour(Enum):
    """A colour."""

    RED = "red"


class Cat(BaseModel):
    """A cat."""

    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    """A dog."""

    kind: Literal["dog"]


@dataclass
class Point:
    """A point."""

    x: float


class Options(TypedDict, total=False):
    """Options."""

    deep: bool


def google(city: str, days: int = 1) -> str:
    """Looks up the weather.

    Use it for the next days.

    Args:
        city: Where,
            in English.
        days (int): How many.

    Returns:
        The sky.

    Raises:
        ValueError: there is no such city.
    """
    return city * days


def numpy(city: str, days: int = 1) -> str:
    """Looks up the weather.

    Use it for the next days.

    Parameters
    ----------
    city : str
        Where,
        in English.
    days : int, optional
        How many.

    Returns
    -------
    str
        The sky.
    """
    return city * days


def rest(city: str, days: int = 1) -> str:
    """Looks up the weather.

    Use it for the next days.

    :param city: Where,
        in English.
    :param days: How many.
    :returns: The sky.
    """
    return city * days


@pytest.mark.parametrize("function", [google, numpy, rest])
def test_docstrings_of_every_style(function: Callable[..., Any]) -> None:
    spec = ToolFunction(function, "here").spec
    properties = spec.parameters["properties"]
    assert spec.description == "Looks up the weather.\n\nUse it for the next days.\n\nReturns: The sky."
    assert properties["city"] == {"type": "string", "description": "Where,\nin English."}
    assert properties["days"] == {"type": "integer", "default": 1, "description": "How many."}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "One line.",
        "Says: this, not that.\n\nNote: it stays as it is.",
        "Lists\n\n- one\n- two",
        "Odd\n\nArgs:\n:::",
    ],
)
def test_a_docstring_without_sections_is_the_description(text: str) -> None:
    def function() -> None: ...

    function.__doc__ = text
    assert ToolFunction(function, "here").spec.description.startswith(text.partition("\n")[0])


def everything(
    pet: Annotated[Cat | Dog, Field(discriminator="kind")],
    colour: Colour,
    size: Literal["s", 3],
    point: Point,
    day: date,
    moment: datetime,
    wait: timedelta,
    price: Decimal,
    key: UUID,
    path: Path,
    counts: dict[str, list[int]],
    either: int | str | None,
    options: Options,
    few: Annotated[list[str], Field(min_length=1, max_length=2)],
    unique: set[int],
    pair: tuple[int, str],
    anything: Any = None,
) -> Any:
    """Takes everything."""


def test_types_of_every_kind() -> None:
    parameters = ToolFunction(everything, "here")._parameters
    properties = parameters.schema["properties"]
    assert properties["pet"]["oneOf"] == [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]
    assert properties["size"]["enum"] == ["s", 3]
    assert properties["day"]["format"] == "date"
    assert properties["counts"]["additionalProperties"] == {"type": "array", "items": {"type": "integer"}}
    assert properties["few"]["maxItems"] == 2
    assert "anything" not in parameters.schema["required"]
    assert "title" not in str(parameters.schema)

    given = """{"pet": {"kind": "dog"}, "colour": "red", "size": 3, "point": {"x": 1}, "day": "2020-01-02",
      "moment": "2020-01-02T03:04:05Z", "wait": "PT5S", "price": "1.50", "key": "00000000-0000-0000-0000-000000000007",
      "path": "a/b", "counts": {"a": [1]}, "either": null, "options": {"deep": true}, "few": ["x"], "unique": [1, 1],
      "pair": [1, "a"]}"""
    taken = parse_arguments("everything", parameters, given)
    assert isinstance(taken["pet"], Dog)
    assert (taken["colour"], taken["point"], taken["day"]) == (Colour.RED, Point(1.0), date(2020, 1, 2))
    assert (taken["wait"], taken["price"], taken["path"]) == (timedelta(seconds=5), Decimal("1.50"), Path("a/b"))
    assert (taken["unique"], taken["pair"], taken["either"], taken["anything"]) == ({1}, (1, "a"), None, None)


def test_error_types_that_cannot_be_used() -> None:
    def unknown(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def object_of_its_own(x: Callable[[], int]) -> None: ...

    for function, said in ((unknown, "a type hint cannot be resolved"), (object_of_its_own, "JSON cannot express one")):
        with pytest.raises(LanemeshError, match=f"cannot be a tool: {said}"):
            ToolFunction(function, "here")


def test_a_function_without_types_needs_the_mark() -> None:
    def plain(x, y="a"):  # type: ignore[no-untyped-def]
        """Plain.

        Args:
            x (list): Things.
        """

    with pytest.raises(LanemeshError, match="no type hint for x, y"):
        ToolFunction(plain, "here")
    properties = ToolFunction(tool(plain), "here").spec.parameters["properties"]
    assert properties == {"x": {"description": "Things.", "type": "array"}, "y": {"default": "a"}}
