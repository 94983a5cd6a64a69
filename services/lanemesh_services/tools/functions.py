"""A typed Python function as a tool: its schema, its arguments, its call, its result."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, get_type_hints

from lanemesh._aio.threads import THREADS
from lanemesh.lanes.rendering import rendered
from lanemesh.lanes.user_code import Closing
from lanemesh.node.firing.bodies import in_threads
from lanemesh.v1 import control_pb2
from lanemesh.values import check_text
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

from lanemesh_services.tools.errors import bad_arguments, bad_function, bad_result
from lanemesh_services.tools.steps import Progress, Result

log = logging.getLogger("lanemesh.tools")

_GATHERING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Function:
    """A function that models may call."""

    def __init__(self, call: Callable[..., Any], where: str) -> None:
        """Raises LanemeshError if the function lacks type hints, or has some that JSON cannot express. `where` is its file."""
        self.name = call.__name__
        self._call = call
        self._parameters = list(inspect.signature(call).parameters.values())
        self._arguments = _model(call, self._parameters, where)
        try:
            schema = self._arguments.model_json_schema(by_alias=True, schema_generator=_Untitled)
        except PydanticUserError as error:
            raise _not_json(where, self.name, error) from None
        schema.pop("title", None)
        self.spec = control_pb2.ToolSpec(
            name=self.name,
            description=inspect.getdoc(call) or "",
            parameters_json=json.dumps(schema, ensure_ascii=False),
        )
        """The function as a model is told of it."""

    def parse(self, arguments: str) -> dict[str, Any]:
        """The arguments of a call, by parameter and of the types that the function declares.

        Raises:
            LanemeshError: "bad-arguments", with everything that does not fit.
        """
        try:
            parsed = self._arguments.model_validate_json(arguments or "{}")
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, item['loc'])) or 'all'}: {item['msg']}" for item in error.errors())
            raise bad_arguments(self.name, problems) from None
        fields = type(parsed).model_fields
        return {str(field.alias): getattr(parsed, name) for name, field in fields.items()}

    async def run(self, arguments: dict[str, Any]) -> AsyncIterator[Progress | Result]:
        """Calls the function: any progress, then the result. Plain functions run in worker threads."""
        positional = [arguments[item.name] for item in self._parameters if item.kind is item.POSITIONAL_ONLY]
        named = {item.name: arguments[item.name] for item in self._parameters if item.kind is not item.POSITIONAL_ONLY}
        function = self._call
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            made = function(*positional, **named)
            yielded = in_threads(made) if isinstance(made, Iterator) else made
            results: list[Any] = []
            async with Closing(yielded, log.warning) as values:
                async for value in values:
                    if isinstance(value, Progress):
                        yield value
                    elif results:
                        raise bad_result(
                            self.name, "yielded a second result; a generator yields Progress and one result"
                        )
                    else:
                        results.append(value)
            yield self._result(results[0] if results else None)
        elif inspect.iscoroutinefunction(function):
            yield self._result(await function(*positional, **named))
        else:
            yield self._result(await THREADS.call(lambda: function(*positional, **named)))

    def _result(self, value: Any) -> Result:
        try:
            content = json.dumps(to_jsonable_python(value), ensure_ascii=False, allow_nan=False)
            check_text(content)
            return Result(content)
        except (TypeError, ValueError, RecursionError) as error:
            raise bad_result(self.name, f"returned {rendered(value)}, which is no JSON: {error}") from None


class _Untitled(GenerateJsonSchema):
    """Without titles: models pay for every word of a schema."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _model(call: Callable[..., Any], parameters: list[inspect.Parameter], where: str) -> type[BaseModel]:
    """The arguments as a model. Its fields are numbered, so that a parameter may be called `json` or `_x`."""
    name = call.__name__
    try:
        hints = get_type_hints(call, include_extras=True)
    except (NameError, TypeError) as error:
        raise bad_function(where, name, f"a type hint cannot be resolved ({error})", "Import what it names.") from None
    gathering = [parameter.name for parameter in parameters if parameter.kind in _GATHERING]
    if gathering:
        hint = "Name every parameter: a model has to be told what it may give."
        raise bad_function(where, name, f"it takes *{gathering[0]}", hint)
    bare = [parameter.name for parameter in parameters if parameter.name not in hints]
    if bare:
        hint = f'Write "{bare[0]}: str", say; or begin the function\'s name with "_" if it is not meant as a tool.'
        raise bad_function(where, name, f"no type hint for {', '.join(bare)}", hint)
    fields: dict[str, Any] = {}
    for number, parameter in enumerate(parameters):
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[f"argument_{number}"] = (hints[parameter.name], Field(default, alias=parameter.name))
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    except PydanticUserError as error:
        raise _not_json(where, name, error) from None


def _not_json(where: str, name: str, error: Exception) -> Exception:
    why = f"JSON cannot express one of its types ({str(error).splitlines()[0]})"
    return bad_function(where, name, why, "Use texts, numbers, lists, dicts, dataclasses or models.")
