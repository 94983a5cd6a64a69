"""The messages of A2A clients as inputs of runs."""

from __future__ import annotations

import json
from math import inf, nan
from typing import Any

import pytest
from a2a.types import a2a_pb2
from a2a.utils.errors import InvalidParamsError
from google.protobuf.json_format import ParseDict
from lanemesh.codec import decode
from lanemesh.items import LaneType
from lanemesh_orchestrator.a2a_server.inputs import inputs_of


def taken(data: Any) -> Any:
    """The value of the input for a message with this JSON value."""
    message = a2a_pb2.Message()
    ParseDict({"parts": [{"data": data}]}, message)
    (given,) = inputs_of(message)
    return decode(LaneType.DATA, given.item).value


@pytest.mark.parametrize(
    "value",
    [
        21,
        -3,
        0.5,
        2**53,
        -(2**53),
        "21",
        True,
        None,
        [],
        {},
        {"id": 7, "of": [1, 2.5, {"n": 3, "none": None}], "large": 1e300},
    ],
)
def test_a_json_value_keeps_its_kinds(value: Any) -> None:
    found = taken(value)
    assert json.dumps(found, sort_keys=True) == json.dumps(value, sort_keys=True)  # 1 is not 1.0 there


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_what_is_no_number_of_json_is_refused(number: float) -> None:
    message = a2a_pb2.Message()
    message.parts.add().data.struct_value.fields["x"].number_value = number
    with pytest.raises(InvalidParamsError, match="no number of JSON"):
        inputs_of(message)
