"""Ports: how a node class declares its inputs and outputs, and the lane type of each."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import getattr_static
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from lanemesh.faults import Code, Fault, LanemeshError, NodeDefinitionError
from lanemesh.items import LaneType
from lanemesh.json_values import Json
from lanemesh.lanes.inbox.assembler import JOINS
from lanemesh.node.callables import innermost
from lanemesh.rendering import rendered
from lanemesh.values import Answer, Audio, Document, Image, Question, Table, Tags, Video

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

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
Answers are such pieces without this declaration."""
Whole = Annotated[T, _WHOLE]
"""Declares an input of wholes: the SDK assembles the pieces of each group, such as the tokens of an answer:
`answer: In[Whole[Answer]]`, or `item: In[Whole[Any]]` for any lane. An item without a group is a whole by itself;
`In[list[Whole[str]]]` collects wholes."""

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
    """None: it accepts any lane."""
    annotation: Any
    """Type of one item."""
    default: Any = REQUIRED
    """The value of a firing if no item has arrived; REQUIRED if an item has to arrive."""
    is_list: bool = False
    """It collects all its items into one list."""
    description: str = ""
    assembled: bool = False
    """The SDK assembles the pieces of each group."""

    @property
    def required(self) -> bool:
        """It must be connected, and needs an item before the node fires. A list may be empty."""
        return self.default is REQUIRED

    @cached_property
    def _check(self) -> Callable[[Any], Any] | None:
        return _checker(self.lane_type, self.annotation)

    def check(self, value: Any, where: str) -> Any:
        """The value for the node. Raises LanemeshError if it is not of the declared type."""
        if self._check is None:
            return value
        return _checked(self._check, self.annotation, self.name, f"the input {where}.{self.name} got", value)

    @property
    def is_checked(self) -> bool:
        """The check of the lane's type does not suffice for the declared type."""
        return self._check is not None


@dataclass(frozen=True)
class OutputSpec:
    """An output of a node class."""

    name: str
    lane_type: LaneType | None
    """None: the type of the connected lane."""
    description: str = ""
    pieces: bool = False
    """The items of one firing are the pieces of one whole: the SDK groups them."""
    annotation: Any = Any
    """Type of one item."""

    def checker(self, where: str) -> Callable[[Any], Any] | None:
        """A function that returns a value that the lane carries, or raises LanemeshError if it is not of the declared type; None if
        no check is necessary. `where` is the component."""
        validate = self._validate
        if validate is None:
            return None
        return partial(_checked, validate, self.annotation, self.name, f"the output {where}.{self.name} was sent")

    @cached_property
    def _validate(self) -> Callable[[Any], Any] | None:
        return _checker(self.lane_type, self.annotation)


def _checker(lane_type: LaneType | None, annotation: Any) -> Callable[[Any], Any] | None:
    """A function that checks values of a type; None if the check of the lane's type suffices."""
    if annotation in (Any, Json) or (lane_type is not LaneType.DATA and get_origin(annotation) is not Annotated):
        return None
    if lane_type is None:
        return None
    from pydantic import ConfigDict, TypeAdapter

    is_value = lane_type not in (LaneType.DATA, LaneType.TEXT)
    return TypeAdapter(
        annotation, config=ConfigDict(arbitrary_types_allowed=True) if is_value else None
    ).validator.validate_python


def _checked(validate: Callable[[Any], Any], annotation: Any, port: str, what: str, value: Any) -> Any:
    from pydantic import ValidationError

    try:
        return validate(value, strict=True)  # type: ignore[call-arg]
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise LanemeshError(
            Fault(
                code=Code.INVALID_ARGUMENT,
                reason="wrong-type",
                message=f"{what} {rendered(value)}, which is not {_named(annotation)}: {first}",
                details={"port": port},
            )
        ) from None


def ports_of(cls: type, reserved: Collection[str] = frozenset()) -> tuple[dict[str, InputSpec], dict[str, OutputSpec]]:
    """The inputs and outputs of a node class, in the order of declaration. None may have a `reserved` name.

    Raises:
        NodeDefinitionError: no lane carries the type of a port, or its name is reserved.
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
            _check_declared(cls, name, hint)
            continue
        _check_name(cls, name, reserved)
        description = _description(metadata)
        annotation, constraints = get_args(hint)[0], _constraints(metadata)
        if _OUT in metadata:
            lane = _lane(cls, name, annotation)
            if _WHOLE in metadata:
                raise _undefined(cls, f"the output {name} is declared as whole; only an input can be")
            pieces = _PIECES in metadata or lane is LaneType.ANSWERS
            outputs[name] = OutputSpec(name, lane, description, pieces, _constrained(annotation, constraints))
            continue
        if _PIECES in metadata:
            raise _undefined(cls, f"the input {name} is declared as pieces; only an output can be")
        is_list = get_origin(annotation) is list
        item = get_args(annotation)[0] if is_list else annotation
        default, field = _default(cls, name)
        if field is not None:
            constraints = [*constraints, field]
            description = description or field.description or ""
        if is_list and any(_restricts(constraint) for constraint in constraints):
            what = f"the input {name} collects a list, but its constraints apply to each item"
            raise _undefined(cls, f"{what}; write In[list[Annotated[{_name(item)}, ...]]]")
        assembled = _WHOLE in metadata or _WHOLE in getattr(item, "__metadata__", ())
        if get_origin(item) is Annotated:
            constraints = [*_constraints(item.__metadata__), *constraints]
            item = get_args(item)[0]
        lane = _lane(cls, name, item)
        if assembled:
            _check_assembled(cls, name, item, lane, is_list and _WHOLE in metadata)
        inputs[name] = InputSpec(name, lane, _constrained(item, constraints), default, is_list, description, assembled)
    return inputs, outputs


_BODIES = ("process", "gen_process", "run")
_METHODS = (types.FunctionType, staticmethod, classmethod, property, type)


def _check_name(cls: type, name: str, reserved: Collection[str]) -> None:
    """Raises NodeDefinitionError if another member of the class has the name of a port, and would be read as its default."""
    if name in reserved or name.startswith("__"):
        why = "which is an attribute or a method of every node"
    elif any(name.startswith(f"_{base.__name__.lstrip('_')}__") for base in cls.__mro__):
        why = "which Python makes from a name with two leading underscores"
    elif isinstance(getattr_static(cls, name, None), _METHODS):
        why = "which is also a method or a nested class, and would be its default"
    else:
        return
    raise _undefined(cls, f'a port has the reserved name "{name}", {why}. Use another name')


def _check_declared(cls: type, name: str, hint: Any) -> None:
    """Raises NodeDefinitionError for an annotation without a value that is probably a port without its `In` or `Out`."""
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if name.startswith("_") or (get_origin(plain) or plain) not in _LANES or hasattr(cls, name):
        return
    if name in ("config", "resource") or not any(callable(getattr(cls, body, None)) for body in _BODIES):
        return
    if any(_stores(member, name) for base in cls.__mro__ for member in base.__dict__.values()):
        return
    shown = _name(plain)
    what = f"{name} is annotated as {shown} but is not a port and has no value"
    raise _undefined(cls, f"{what}; write `{name}: In[{shown}]`, `{name}: Out[{shown}]`, or give it a default")


def _stores(member: Any, name: str) -> bool:
    import dis

    code = getattr(innermost(member), "__code__", None)
    return code is not None and any(
        instruction.opname in ("STORE_ATTR", "LOAD_METHOD", "LOAD_GLOBAL") and instruction.argval in (name, "setattr")
        for instruction in dis.get_instructions(code)
    )


def _default(cls: type, name: str) -> tuple[Any, FieldInfo | None]:
    """The default of an input, and the `Field` that holds it, if one does: `a: In[int] = Field(3, ge=0)`."""
    from pydantic.fields import FieldInfo

    default = getattr(cls, name, REQUIRED)
    if not isinstance(default, FieldInfo):
        return default, None
    if default.is_required():
        return REQUIRED, default
    return default.get_default(call_default_factory=True), default


def _description(metadata: Iterable[Any]) -> str:
    texts = (part if isinstance(part, str) else getattr(part, "description", None) for part in metadata)
    return " ".join(text for text in texts if isinstance(text, str))


def _constraints(metadata: Iterable[Any]) -> list[Any]:
    """The constraints that pydantic checks."""
    return [part for part in metadata if not isinstance(part, str | _Direction | _Grouping)]


def _restricts(constraint: Any) -> bool:
    return bool(getattr(constraint, "metadata", True))


def _constrained(annotation: Any, constraints: Iterable[Any]) -> Any:
    for constraint in constraints:
        annotation = Annotated[annotation, constraint]
    return annotation


def _check_assembled(cls: type, name: str, item: Any, lane: LaneType | None, is_whole_list: bool) -> None:
    if is_whole_list:
        raise _undefined(cls, f"the input {name} is a whole list; write In[list[Whole[{_name(item)}]]]")
    if lane is not None and lane not in JOINS:
        known = ", ".join(_name(kind) for kind, of in _LANES.items() if of in JOINS)
        raise _undefined(
            cls,
            f"the input {name} is a whole of type {_name(item)}, whose pieces cannot be assembled; wholes are {known}",
        )


def _lane(cls: type, port: str, annotation: Any) -> LaneType | None:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
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
            cls, f"the port {port} is of type {_name(annotation)}, which no lane can carry. Use one of {known} or Json"
        )
    return lane


def _undefined(cls: type, what: str) -> NodeDefinitionError:
    return NodeDefinitionError(
        Fault(code=Code.INVALID_ARGUMENT, reason="bad-node", message=f"the node class {cls.__qualname__}: {what}.")
    )


def _named(annotation: Any) -> str:
    """The name of a type with its article."""
    name = _name(annotation)
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _name(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return getattr(annotation, "__name__", None) or str(annotation)
