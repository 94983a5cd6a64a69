"""The values that clients send, as inputs of runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lanemesh.client.specs import wire_text
from lanemesh.codec import encode, make_item
from lanemesh.faults import ValueRefused
from lanemesh.items import Envelope, LaneType
from lanemesh.v1 import run_pb2
from pydantic import ValidationError

from lanemesh_orchestrator.gateway.invalid import InvalidRequest, invalid, invalid_fields
from lanemesh_orchestrator.value_json import value_from_json

LANES = {lane.value: lane for lane in LaneType}


def inputs_of(one: Any, many: Iterable[Any] | None, names: tuple[str, str], port: str = "") -> list[run_pb2.RunInput]:
    """The inputs of a request that has one value, or many.

    Args:
        one: a value; None: there is none.
        many: several values.
        names: the fields of both, for errors.
        port: the port of values without one.

    Raises:
        InvalidRequest: both are given, or a value has not the form of its lane.
        LanemeshError: the name of a port is not valid Unicode.
    """
    if one is not None and many is not None:
        raise invalid(f"/{names[1]}", f'give either "{names[0]}" or "{names[1]}"')
    if many is not None:
        return [run_input(value, f"/{names[1]}/{index}", port) for index, value in enumerate(many)]
    return [] if one is None else [run_input(one, f"/{names[0]}", port)]


def run_input(value: Any, pointer: str, port: str = "") -> run_pb2.RunInput:
    """An input.

    Args:
        value: text, which is a string; an entry `{"lane", "value", "port"}` with a value of a lane, or any other JSON as data. An
            object with `value`, with `lane` or `port` or both, and with no other key is an entry.
        pointer: the JSON pointer to it.
        port: its port, unless it names one.

    Raises:
        InvalidRequest: it has not the form of its lane.
        LanemeshError: the name of the port is not valid Unicode.
    """
    lane = LaneType.TEXT if isinstance(value, str) else LaneType.DATA
    if _is_entry(value):
        lane, port, value = _lane_of(value, pointer), _port_of(value, pointer, port), value["value"]
        pointer += "/value"
    return lane_input(lane, value, pointer, port)


def lane_input(
    lane: LaneType, value: Any, pointer: str = "", port: str = "", envelope: Envelope | None = None
) -> run_pb2.RunInput:
    """An input of a lane.

    Args:
        lane: its lane.
        value: the JSON value of the lane.
        pointer: the JSON pointer to it.
        port: its port; empty: every output that can carry it.
        envelope: what else is known of it.

    Raises:
        InvalidRequest: it has not the form of its lane.
        LanemeshError: the name of the port is not valid Unicode.
    """
    try:
        item = make_item(lane, value_from_json(lane, value), envelope, where=pointer)
    except ValidationError as error:
        raise invalid_fields(error, pointer) from None
    except ValueRefused as error:
        raise invalid(pointer, error.fault.message, error.fault.reason) from None
    except (TypeError, ValueError) as error:
        raise invalid(pointer, str(error)) from None
    return run_pb2.RunInput(port=wire_text(port, "the name of a port"), item=encode(lane, item))


def _is_entry(value: Any) -> bool:
    if not isinstance(value, dict) or "value" not in value or len(value) == 1:
        return False
    return value.keys() <= {"port", "lane", "value"}


def _lane_of(entry: dict[str, Any], pointer: str) -> LaneType:
    name = entry.get("lane")
    if name is None:
        return LaneType.TEXT if isinstance(entry["value"], str) else LaneType.DATA
    if not isinstance(name, str) or name not in LANES:
        raise invalid(f"{pointer}/lane", f"a lane is one of {', '.join(LANES)}", "unknown-lane")
    return LANES[name]


def _port_of(entry: dict[str, Any], pointer: str, port: str) -> str:
    given = entry.get("port", port)
    if not isinstance(given, str):
        raise invalid(f"{pointer}/port", "a port is a string", "wrong-type")
    return given


__all__ = ["InvalidRequest", "inputs_of", "lane_input", "run_input"]
