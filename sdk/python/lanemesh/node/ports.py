"""Ports: how a node class declares its inputs and outputs, and what lane each of them is."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from lanemesh.faults import Code, Fault, LanemeshError, NodeDefinitionError
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.assembler import JOINS
from lanemesh.lanes.rendering import rendered
from lanemesh.values import Answer, Audio, Document, Image, Json, Question, Table, Tags, Video

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Direction:
    name: str


@dataclass(frozen=True, slots=True)
class _Grouping:
    name: str


_IN = _Direction("in")
_OUT = _Direction("out")
_PIECES = _Grouping("pieces")
_WHOLE = _Grouping("whole")

In = Annotated[T, _IN]
"""Declares an input: `a: In[float]`. To a type checker it is the type itself. A default makes the input optional;
`In[list[T]]` collects all items; text beside it (`Annotated[In[float], "in metres"]`) describes it."""
Out = Annotated[T, _OUT]
"""Declares an output: `total: Out[float]`."""
Pieces = Annotated[T, _PIECES]
"""Declares an output whose items of one firing are the pieces of one whole, such as the tokens of a text: `text: Out[Pieces[str]]`.
Answers are such pieces without saying so."""
Whole = Annotated[T, _WHOLE]
"""Declares an input whose items are whole: the SDK puts the pieces of each group together, such as the tokens of an answer:
`answer: In[Whole[Answer]]`. An item without a group is a whole by itself; `In[list[Whole[str]]]` collects wholes."""

REQUIRED: Any = object()
"""The default of an input that has none."""

_LANES: dict[Any, LaneType] = {
    str: LaneType.TEXT,
    Question: LaneType.QUESTIONS,
    Answer: LaneType.ANSWERS,
    Document: LaneType.DOCUMENTS,
    Table: LaneType.TABLE,
    Tags: LaneType.TAGS,
    Image: LaneType.IMAGE,
    Audio: LaneType.AUDIO,
    Video: LaneType.VIDEO,
    bool: LaneType.DATA,
    int: LaneType.DATA,
    float: LaneType.DATA,
    dict: LaneType.DATA,
    list: LaneType.DATA,
    type(None): LaneType.DATA,
}


@dataclass(frozen=True)
class InputSpec:
    """An input of a node class."""

    name: str
    lane_type: LaneType | None
    """None: it takes any lane."""
    annotation: Any
    """Type of one item."""
    default: Any = REQUIRED
    """What a firing sees if nothing has come; REQUIRED if it has to come."""
    is_list: bool = False
    """It collects all its items into one list."""
    description: str = ""
    assembled: bool = False
    """The SDK puts the pieces of each group together."""

    @property
    def required(self) -> bool:
        """It must be connected and gets an item before the node fires. A list may be empty."""
        return self.default is REQUIRED

    @cached_property
    def _check(self) -> Callable[[Any], Any] | None:
        if self.lane_type is not LaneType.DATA or self.annotation in (Any, Json):
            return None
        from pydantic import TypeAdapter

        return TypeAdapter(self.annotation).validator.validate_python

    def check(self, value: Any, where: str) -> Any:
        """The value as the node shall see it. Raises LanemeshError if it is not of the declared type."""
        if self._check is None:
            return value
        from pydantic import ValidationError

        try:
            return self._check(value, strict=True)  # type: ignore[call-arg]
        except ValidationError as error:
            first = error.errors()[0]["msg"]
            raise LanemeshError(
                Fault(
                    code=Code.INVALID_ARGUMENT,
                    reason="wrong-type",
                    message=f"the input {where}.{self.name} got {rendered(value)}, which is no {_name(self.annotation)}: {first}",
                    details={"port": self.name},
                )
            ) from None


@dataclass(frozen=True)
class OutputSpec:
    """An output of a node class."""

    name: str
    lane_type: LaneType | None
    """None: the lane that it is connected to decides."""
    description: str = ""
    pieces: bool = False
    """What one firing sends are the pieces of one whole: the SDK groups them."""


def ports_of(cls: type) -> tuple[dict[str, InputSpec], dict[str, OutputSpec]]:
    """The inputs and outputs that a node class declares, in the order in which it does.

    Raises:
        NodeDefinitionError: a port's type has no lane.
    """
    inputs: dict[str, InputSpec] = {}
    outputs: dict[str, OutputSpec] = {}
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise _undefined(cls, f"a type hint cannot be resolved: {error}") from None
    for name, hint in hints.items():
        metadata = getattr(hint, "__metadata__", ())
        if _IN not in metadata and _OUT not in metadata:
            continue
        description = " ".join(part for part in metadata if isinstance(part, str))
        annotation = get_args(hint)[0]
        if _OUT in metadata:
            lane = _lane(cls, name, annotation)
            if _WHOLE in metadata:
                raise _undefined(cls, f"the output {name} is declared as whole; only an input can be")
            outputs[name] = OutputSpec(name, lane, description, _PIECES in metadata or lane is LaneType.ANSWERS)
            continue
        if _PIECES in metadata:
            raise _undefined(cls, f"the input {name} is declared as pieces; only an output can be")
        is_list = get_origin(annotation) is list
        item = get_args(annotation)[0] if is_list else annotation
        default = getattr(cls, name, REQUIRED)
        assembled = _WHOLE in metadata or _WHOLE in getattr(item, "__metadata__", ())
        if get_origin(item) is Annotated:
            item = get_args(item)[0]
        lane = _lane(cls, name, item)
        if assembled:
            _check_assembled(cls, name, item, lane, is_list and _WHOLE in metadata)
        inputs[name] = InputSpec(name, lane, item, default, is_list, description, assembled)
    return inputs, outputs


def _check_assembled(cls: type, name: str, item: Any, lane: LaneType | None, is_whole_list: bool) -> None:
    if is_whole_list:
        raise _undefined(cls, f"the input {name} is a whole list; write In[list[Whole[{_name(item)}]]]")
    if lane not in JOINS:
        known = ", ".join(_name(kind) for kind, of in _LANES.items() if of in JOINS)
        raise _undefined(
            cls,
            f"the input {name} is a whole of type {_name(item)}, whose pieces nobody can put together; wholes are {known}",
        )


def _lane(cls: type, port: str, annotation: Any) -> LaneType | None:
    if annotation is Any:
        return None
    if annotation == Json:
        return LaneType.DATA
    if get_origin(annotation) in (Union, types.UnionType):
        lanes = {_lane(cls, port, part) for part in get_args(annotation) if part is not type(None)}
        if len(lanes) == 1:
            return lanes.pop()
        if lanes <= {LaneType.DATA, LaneType.TEXT}:
            return LaneType.DATA
    lane = _LANES.get(get_origin(annotation) or annotation)
    if lane is None:
        known = ", ".join(_name(kind) for kind in _LANES if kind is not type(None))
        raise _undefined(
            cls, f"the port {port} is of type {_name(annotation)}, which no lane carries. Use one of {known} or Json"
        )
    return lane


def _undefined(cls: type, what: str) -> NodeDefinitionError:
    return NodeDefinitionError(
        Fault(code=Code.INVALID_ARGUMENT, reason="bad-node", message=f"the node class {cls.__qualname__}: {what}.")
    )


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
