"""Values of other libraries: scalars are numbers, and an error names the right form."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from typing import Any

import numpy as np
import pytest
from lanemesh import Document, Table, Tags
from lanemesh.client.inputs import to_input
from lanemesh.json_values import copy_json, freeze_json
from pydantic import BaseModel


class Model(BaseModel):
    """A model."""

    x: int = 1


@dataclasses.dataclass
class Record:
    """A record."""

    x: int = 1


class Plain(enum.Enum):
    """An enumeration."""

    A = 1


class Whole(enum.IntEnum):
    """One of numbers."""

    A = 1


SCALARS = [
    (np.float64(0.5), 0.5),
    (np.float32(0.5), 0.5),
    (np.float16(0.5), 0.5),
    (np.longdouble(0.5), 0.5),
    (np.int64(3), 3),
    (np.uint8(3), 3),
    (np.bool_(True), True),
    (np.str_("x"), "x"),
    (np.array(3), 3),
    (np.array(0.5), 0.5),
    (Whole.A, 1),
]


@pytest.mark.parametrize(("value", "plain"), SCALARS)
@pytest.mark.parametrize("nest", [lambda value: value, lambda value: {"a": [(value,)]}])
def test_scalars_are_numbers_truth_values_and_texts(value: Any, plain: Any, nest: Any) -> None:
    assert copy_json(nest(value)) == copy_json(nest(plain))
    assert type(copy_json([value])[0]) is type(plain)
    assert freeze_json([value]) == (plain,)
    assert Table(("c",), ((value,),)).rows == ((plain,),)
    assert Tags(v=value)["v"] == plain
    assert Document("", metadata={"v": value}).metadata["v"] == plain
    assert to_input([value]).item.data_json


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (np.array([1, 2]), "x.tolist()"),
        (decimal.Decimal("1.5"), "float(x), or str(x)"),
        (datetime.datetime(2020, 1, 2), "x.isoformat()"),
        (datetime.date(2020, 1, 2), "x.isoformat()"),
        (datetime.time(1), "x.isoformat()"),
        (datetime.timedelta(1), "x.total_seconds()"),
        (np.datetime64("2020-01-02"), "x.tolist()"),
        (uuid.UUID(int=7), "str(x)"),
        (Plain.A, "x.value"),
        (Model(), 'x.model_dump(mode="json")'),
        (Record(), "dataclasses.asdict(x)"),
        (Document("x"), "dataclasses.asdict(x)"),
        ({1}, "sorted(x) or list(x)"),
        (b"x", "x.decode()"),
        (1j, "[x.real, x.imag]"),
        (range(3), "list(x)"),
        (iter([1]), "list(x)"),
        (pathlib.PurePosixPath("/"), "str(x)"),
        (int, "an instance of it"),
        (object(), "str(x)"),
        ({1: 2}, "str(key)"),
    ],
)
@pytest.mark.parametrize("nest", [lambda value: value, lambda value: {"a": [(value,)]}])
def test_what_is_no_json_is_refused_with_what_to_write(value: Any, hint: str, nest: Any) -> None:
    with pytest.raises(TypeError) as caught:
        copy_json(nest(value))
    assert f"write {hint}" in str(caught.value)
