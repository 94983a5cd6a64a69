"""The parameters of a function: as a JSON schema for models, and as a pydantic model that checks arguments."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

from lanemesh.node.callables import innermost
from lanemesh.node.context import Context
from lanemesh.tools.context import ToolContext
from lanemesh.tools.docstrings import Docstring
from lanemesh.tools.errors import bad_function

_GATHERING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_CONTEXTS = (ToolContext, Context)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a function."""

    visible: tuple[inspect.Parameter, ...]
    """Those that a model passes."""
    hidden: Mapping[str, type]
    """Those that get a context, with its type."""
    model: type[BaseModel]
    """Checks arguments. Its fields are numbered, so a parameter can be named `json` or `_x`; a caller passes them by the names of
    the parameters, or by the aliases of their `Field`s."""
    schema: Mapping[str, Any]
    """The JSON schema of the arguments."""

    def arguments(self, checked: BaseModel) -> dict[str, Any]:
        """The arguments by parameter, of the types that the function declares."""
        return {item.name: getattr(checked, _field(number)) for number, item in enumerate(self.visible)}


def parameters_of(call: Callable[..., Any], where: str, name: str, doc: Docstring, *, typed: bool) -> Parameters:
    """The parameters of a function.

    Args:
        call: the function.
        where: its file or class, for errors.
        name: its name, for errors.
        doc: its docstring.
        typed: a parameter without a type is an error; otherwise it takes any JSON value.

    Raises:
        LanemeshError: "bad-tool-function".
    """
    hints = _hints(call, where, name)
    declared = _declared(call, where, name)
    hidden = {item.name: kind for item in declared if (kind := _context(hints.get(item.name))) is not None}
    visible = tuple(item for item in declared if item.name not in hidden)
    _check(visible, hints if typed else {item.name: Any for item in visible}, where, name)
    model = _model(name, visible, hints, where)
    schema = _schema(model, where, name)
    _describe(schema, model, visible, hints, doc)
    return Parameters(visible, hidden, model, schema)


class _Untitled(GenerateJsonSchema):
    """Without titles, which would cost tokens of the model."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _hints(call: Callable[..., Any], where: str, name: str) -> dict[str, Any]:
    try:
        return get_type_hints(innermost(call), include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise bad_function(where, name, f"a type hint cannot be resolved ({error})", "Import its names.") from None


def _declared(call: Callable[..., Any], where: str, name: str) -> list[inspect.Parameter]:
    """The parameters that a caller passes: without those that a partial application has fixed by name."""
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        hint = "Wrap it in a function with type hints."
        raise bad_function(where, name, "its parameters are not known", hint) from None
    fixed = call.keywords if isinstance(call, functools.partial) else {}
    return [parameter for parameter in parameters if parameter.name not in fixed]


def _context(hint: Any) -> type | None:
    """The kind of context that a parameter gets; None if it is no context."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((kind for kind in kinds if kind in _CONTEXTS), None)


def _check(visible: tuple[inspect.Parameter, ...], hints: Mapping[str, Any], where: str, name: str) -> None:
    gathering = [parameter.name for parameter in visible if parameter.kind in _GATHERING]
    if gathering:
        hint = "Name every parameter: a model needs the names."
        raise bad_function(where, name, f"it takes *{gathering[0]}", hint)
    bare = [parameter.name for parameter in visible if parameter.name not in hints]
    if bare:
        hint = (
            f'Write for example "{bare[0]}: str"; or begin the function\'s name with "_" if it is not a tool, or write @tool above '
            "it if the parameter takes any JSON value."
        )
        raise bad_function(where, name, f"no type hint for {', '.join(bare)}", hint)


def _field(number: int) -> str:
    return f"argument_{number}"


def _model(name: str, visible: tuple[inspect.Parameter, ...], hints: Mapping[str, Any], where: str) -> type[BaseModel]:
    names = {_field(number): parameter.name for number, parameter in enumerate(visible)}
    fields: dict[str, Any] = {
        _field(number): (
            hints.get(parameter.name, Any),
            Field() if parameter.default is parameter.empty else parameter.default,  # a `Field` is one already
        )
        for number, parameter in enumerate(visible)
    }
    config = ConfigDict(extra="forbid", alias_generator=lambda field: names.get(field, field))
    try:
        return create_model(name, __config__=config, **fields)
    except (PydanticUserError, NameError, TypeError) as error:
        raise _not_json(where, name, error) from None


def _schema(model: type[BaseModel], where: str, name: str) -> dict[str, Any]:
    try:
        schema = model.model_json_schema(by_alias=True, schema_generator=_Untitled)
    except (PydanticUserError, NameError, TypeError) as error:
        raise _not_json(where, name, error) from None
    schema.pop("title", None)
    for definition in schema.get("$defs", {}).values():
        definition.pop("title", None)
    return schema


def _describe(
    schema: dict[str, Any],
    model: type[BaseModel],
    visible: tuple[inspect.Parameter, ...],
    hints: Mapping[str, Any],
    doc: Docstring,
) -> None:
    """Adds what the docstring says of the parameters, where nothing nearer to them says it."""
    properties = schema.get("properties", {})
    for number, parameter in enumerate(visible):
        field = properties.get(model.model_fields[_field(number)].alias or parameter.name)
        if field is None:
            continue
        if parameter.name in doc.parameters:
            field.setdefault("description", doc.parameters[parameter.name])
        if parameter.name not in hints and parameter.name in doc.types:
            field.setdefault("type", doc.types[parameter.name])


def _not_json(where: str, name: str, error: Exception) -> Exception:
    why = f"JSON cannot express one of its types ({(str(error).splitlines() or [''])[0]})"
    return bad_function(where, name, why, "Use texts, numbers, lists, dicts, dataclasses or models.")
