"""A typed Python function as a tool: its schema, its arguments, its call, its result."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, get_type_hints

from lanemesh import ToolSpec
from lanemesh.extend import call_function, innermost, rendered, to_json
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

from lanemesh_services.tools.errors import bad_arguments, bad_function, bad_result
from lanemesh_services.tools.steps import Progress, Result

_GATHERING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Function:
    """A function that models can call."""

    def __init__(self, call: Callable[..., Any], where: str, name: str = "") -> None:
        """Raises LanemeshError if the function lacks type hints, or has some that JSON cannot express. `where` is its file; `name`
        is its name for models; default: its own."""
        self.name = name or call.__name__
        self._call = call
        self._parameters = _parameters(call, where, self.name)
        self._arguments = _model(call, self.name, self._parameters, where)
        try:
            schema = self._arguments.model_json_schema(by_alias=True, schema_generator=_Untitled)
        except PydanticUserError as error:
            raise _not_json(where, self.name, error) from None
        schema.pop("title", None)
        self.spec = ToolSpec(self.name, _description(call), schema)
        """The description of the function for a model."""

    def parse(self, arguments: str) -> dict[str, Any]:
        """The arguments of a call, by parameter and of the types that the function declares.

        Raises:
            LanemeshError: "bad-arguments", with all faults.
        """
        try:
            parsed = self._arguments.model_validate_json(arguments or "{}")
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, item['loc'])) or 'all'}: {item['msg']}" for item in error.errors())
            raise bad_arguments(self.name, problems) from None
        return {item.name: getattr(parsed, _field(number)) for number, item in enumerate(self._parameters)}

    async def run(self, arguments: dict[str, Any]) -> AsyncIterator[Progress | Result]:
        """Calls the function; yields any progress, then the result. Plain functions run in worker threads."""
        positional = [arguments[item.name] for item in self._parameters if item.kind is item.POSITIONAL_ONLY]
        named = {item.name: arguments[item.name] for item in self._parameters if item.kind is not item.POSITIONAL_ONLY}
        results: list[Any] = []
        async with aclosing(call_function(self._call, *positional, **named)) as values:
            async for value in values:
                if isinstance(value, Progress):
                    yield value
                elif results:
                    raise bad_result(self.name, "yielded a second result; a generator yields Progress and one result")
                else:
                    results.append(value)
        yield self._result(results[0] if results else None)

    def _result(self, value: Any) -> Result:
        try:
            return Result(to_json(value))
        except (TypeError, ValueError, RecursionError) as error:
            raise bad_result(self.name, f"returned {rendered(value)}, which is not JSON: {error}") from None


class _Untitled(GenerateJsonSchema):
    """Without titles, which would cost tokens of the model."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _parameters(call: Callable[..., Any], where: str, name: str) -> list[inspect.Parameter]:
    """The parameters that a caller passes: without those that a partial application has fixed by name."""
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        raise bad_function(
            where, name, "its parameters are not known", "Wrap it in a function with type hints."
        ) from None
    fixed = call.keywords if isinstance(call, functools.partial) else {}
    return [parameter for parameter in parameters if parameter.name not in fixed]


def _description(call: Callable[..., Any]) -> str:
    """The docstring of a function, or of the function that an object or a partial application calls."""
    own = inspect.getdoc(call) if inspect.isroutine(call) or hasattr(call, "__wrapped__") else ""
    of_object = "" if isinstance(call, functools.partial) else inspect.getdoc(type(call))
    return own or inspect.cleandoc(innermost(call).__doc__ or "") or of_object or ""


def _field(number: int) -> str:
    return f"argument_{number}"


def _model(call: Callable[..., Any], name: str, parameters: list[inspect.Parameter], where: str) -> type[BaseModel]:
    """The arguments as a pydantic model. Its fields are numbered, so a parameter can be named `json` or `_x`; a caller passes them
    by the names of the parameters, or by the aliases of their `Field`s."""
    try:
        hints = get_type_hints(innermost(call), include_extras=True)
    except (NameError, TypeError) as error:
        raise bad_function(where, name, f"a type hint cannot be resolved ({error})", "Import its names.") from None
    gathering = [parameter.name for parameter in parameters if parameter.kind in _GATHERING]
    if gathering:
        hint = "Name every parameter: a model needs the names."
        raise bad_function(where, name, f"it takes *{gathering[0]}", hint)
    bare = [parameter.name for parameter in parameters if parameter.name not in hints]
    if bare:
        hint = f'Write for example "{bare[0]}: str"; or begin the function\'s name with "_" if it is not a tool.'
        raise bad_function(where, name, f"no type hint for {', '.join(bare)}", hint)
    names = {_field(number): parameter.name for number, parameter in enumerate(parameters)}
    fields: dict[str, Any] = {
        _field(number): (
            hints[parameter.name],
            Field() if parameter.default is parameter.empty else parameter.default,  # a `Field` is one already
        )
        for number, parameter in enumerate(parameters)
    }
    config = ConfigDict(extra="forbid", alias_generator=lambda field: names.get(field, field))
    try:
        return create_model(name, __config__=config, **fields)
    except PydanticUserError as error:
        raise _not_json(where, name, error) from None


def _not_json(where: str, name: str, error: Exception) -> Exception:
    why = f"JSON cannot express one of its types ({str(error).splitlines()[0]})"
    return bad_function(where, name, why, "Use texts, numbers, lists, dicts, dataclasses or models.")
